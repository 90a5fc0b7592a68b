"""A board game: do eigendirections line up with the state of an Othello board?"""
