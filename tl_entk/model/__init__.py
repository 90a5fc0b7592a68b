"""What is read off a model: sites of its weights, checks of what is asked, inputs and gradients.

``adapters`` is the only place that knows a model's class. Everything after works on sites.
May import: tools.
"""
