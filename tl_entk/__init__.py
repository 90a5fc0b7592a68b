"""tl_entk: features of a TransformerLens model from its empirical neural tangent kernel (eNTK).

Kernels of every weight, head and layer
    kernel_blocks          dense N x N blocks of any readout
    list_components        names of all weights and heads
    KernelBlocks           what comes out: a mapping with sums over layers and patterns
    Readout                a readout of your own
    sampled_class_trace    the class trace of a large vocabulary, from random signs
    cosine_normalize       cosines of the examples' gradients
    center                 the kernel of centered gradients
    LinearMap, Bias        what a module of your own is written with
    UserError              raised for what a caller can fix

Eigendirections
    default_directions     of a kernel to start with, in one call
    eigendecompose         of a dense kernel
    top_eigendirections    of a language model's kernel, which is never formed
    all_eigendirections    nearly those of many components, from one set of backward passes
    EigenDirections        what comes out: eigenvalues, vectors, scores, residuals
    leading_eigenpairs     of any symmetric operator, by block Lanczos
    find_cliffs            drops of a spectrum
    Cliff                  one of them
    rotate_by_smoothness   within a cliff, by graphs you give
    rotate_by_kernel       by the kernel's own graph
    rotate_by_varimax      by varimax
    rotate_by_ica          by independent components
    Rotation               what they return
    torus_laplacians       graphs of modular addition
    kernel_laplacian       graph of a kernel's neighbors

The kernel as an operator, and as a Jacobian
    kernel_operator        products with any component's kernel
    KernelOperator         what comes out
    SymmetricOperator      its base, for an operator of your own
    Estimate               time and memory that its eigenpairs take
    gradient_norms         sizes of the examples' gradients
    jacobian               J of all outputs, kept as factors
    Jacobian               what comes out
    linearized             predictions of the network's linearization
    Linearized             what comes out
    split_over_ranks       examples split over several processes
    Ranks                  which of them this one is

Directions beside features
    subspace_overlap       of directions with features
    SubspaceOverlap        what comes out
    abs_cosines            of every direction with every feature
    group_projections      share of each direction in each feature group
    purity                 largest share of each direction in one group
    component_shares       which weights a feature lives in
    head_shares            which heads
    layer_shares           which layers
    activations_at         activations at any hook
    pca_scores             the PCA baseline
    random_directions      the floor
    baseline_scores        every baseline of a language model, by name
    sae_scores             latents of a sparse autoencoder (SAELens)
    SaeScores              what comes out
    center_within          what scores tell within a group, such as one predicted token
    best_directions        the best single direction for every feature
    DirectionTable         what comes out
    compare                eNTK, PCA, probes and chance side by side
    probe_bases            probes on bases of your own
    Comparison             what both return
    IntervalEstimate       a figure with its interval
    sweep_directions       directions of every readout, component and normalization
    judge_sweep            which of them is best, within the train half
    embedding_spectrum     power of each frequency in an embedding
    kernel_spectrum        energy of each frequency in a kernel
    key_frequencies        those that stand out
    top_examples           examples at either end of a direction
    top_tokens             tokens that go up and down with it

Eigendirections in the weights
    weight_directions      their counterparts J^T v: unit changes of the weights
    WeightDirections       what comes out
    WeightDirection        one of them
    project                scores of any windows, at any position
    reads_and_writes       the tokens, neurons and heads that it is between
    ReadsAndWrites         what comes out
    nudge                  a model with its weights moved along a direction, for a while
    ablate                 or without it
    nudge_response         predicted and measured changes, by step
    NudgeResponse          what comes out
    position_contributions  what each position of a window adds to its score, exactly
    PositionContributions  what comes out

Figures
    plot                   one for each kind of result: spectrum, alignment, shares, ...

Training
    Track                  a callback that follows kernels
    Watch                  what it watches
    Course                 what it gathers
    Peak                   where an overlap rises most
    onset                  of grokking
    midpoint               of grokking
    relation               of a peak to the onset

Language models
    load_language_model    from a folder, the hub, or the embedded one
    greedy_continuation    what a model says next
    sample_stories         text of the embedded model

Files
    save, load             results as safetensors and JSON
    save_vector_set        directions of all logits as a SAEDashboard vector set
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from feature_sets.errors import UserError
    from tl_entk.alignment.activations import activations_at
    from tl_entk.alignment.attribution import component_shares, head_shares, layer_shares
    from tl_entk.alignment.baselines import pca_scores, random_directions
    from tl_entk.alignment.best_directions import DirectionTable, best_directions
    from tl_entk.alignment.bootstrap import IntervalEstimate
    from tl_entk.alignment.comparison import Comparison, compare, probe_bases
    from tl_entk.alignment.controls import center_within
    from tl_entk.alignment.frequencies import embedding_spectrum, kernel_spectrum, key_frequencies
    from tl_entk.alignment.model_baselines import baseline_scores
    from tl_entk.alignment.overlap import (
        SubspaceOverlap,
        abs_cosines,
        group_projections,
        purity,
        subspace_overlap,
    )
    from tl_entk.alignment.readout_sweep import judge_sweep, sweep_directions
    from tl_entk.alignment.sae_scores import SaeScores, sae_scores
    from tl_entk.compressed.eigendirections import all_eigendirections
    from tl_entk.directions.cliffs import Cliff, find_cliffs
    from tl_entk.directions.cost import Estimate
    from tl_entk.directions.default import default_directions
    from tl_entk.directions.eigen import EigenDirections, eigendecompose
    from tl_entk.directions.examples import top_examples, top_tokens
    from tl_entk.directions.laplacians import kernel_laplacian, torus_laplacians
    from tl_entk.directions.rotation import Rotation, rotate_by_smoothness
    from tl_entk.directions.solver import leading_eigenpairs
    from tl_entk.directions.symmetric_operator import SymmetricOperator
    from tl_entk.directions.unsupervised_rotation import (
        rotate_by_ica,
        rotate_by_kernel,
        rotate_by_varimax,
    )
    from tl_entk.dynamics.course import Course, Peak
    from tl_entk.dynamics.grokking import midpoint, onset, relation
    from tl_entk.dynamics.track import Track
    from tl_entk.dynamics.watch import Watch
    from tl_entk.kernel.blocks import kernel_blocks, list_components
    from tl_entk.kernel.kernel_blocks import KernelBlocks
    from tl_entk.kernel.normalize import center, cosine_normalize
    from tl_entk.language.loading import load_language_model
    from tl_entk.language.next_words import greedy_continuation
    from tl_entk.language.story_model.sample import sample_stories
    from tl_entk.language.vector_set import save_vector_set
    from tl_entk.linearization.build_jacobian import jacobian
    from tl_entk.linearization.fit import Linearized, linearized
    from tl_entk.linearization.jacobian import Jacobian
    from tl_entk.model.linear_map import Bias, LinearMap
    from tl_entk.model.readouts import Readout, sampled_class_trace
    from tl_entk.operator.build import kernel_operator
    from tl_entk.operator.normalized_operator import gradient_norms
    from tl_entk.operator.operator import KernelOperator
    from tl_entk.operator.top_directions import top_eigendirections
    from tl_entk.results import load, save
    from tl_entk.tools.ranks import Ranks, split_over_ranks
    from tl_entk.weight_space.directions import WeightDirection, WeightDirections
    from tl_entk.weight_space.gather import weight_directions
    from tl_entk.weight_space.nudge import ablate, nudge
    from tl_entk.weight_space.position_contributions import (
        PositionContributions,
        position_contributions,
    )
    from tl_entk.weight_space.project import project
    from tl_entk.weight_space.read_write import ReadsAndWrites, reads_and_writes
    from tl_entk.weight_space.response import NudgeResponse, nudge_response

__version__ = "0.1.0"

__all__ = [  # noqa: RUF022 - grouped, as the docstring is
    # kernels of every weight, head and layer
    "kernel_blocks",
    "list_components",
    "KernelBlocks",
    "Readout",
    "sampled_class_trace",
    "cosine_normalize",
    "center",
    "LinearMap",
    "Bias",
    "UserError",
    # eigendirections
    "default_directions",
    "eigendecompose",
    "top_eigendirections",
    "all_eigendirections",
    "EigenDirections",
    "leading_eigenpairs",
    "find_cliffs",
    "Cliff",
    "rotate_by_smoothness",
    "rotate_by_kernel",
    "rotate_by_varimax",
    "rotate_by_ica",
    "Rotation",
    "torus_laplacians",
    "kernel_laplacian",
    # the kernel as an operator, and as a Jacobian
    "kernel_operator",
    "KernelOperator",
    "SymmetricOperator",
    "Estimate",
    "gradient_norms",
    "jacobian",
    "Jacobian",
    "linearized",
    "Linearized",
    "split_over_ranks",
    "Ranks",
    # directions beside features
    "subspace_overlap",
    "SubspaceOverlap",
    "abs_cosines",
    "group_projections",
    "purity",
    "component_shares",
    "head_shares",
    "layer_shares",
    "activations_at",
    "pca_scores",
    "random_directions",
    "baseline_scores",
    "sae_scores",
    "SaeScores",
    "center_within",
    "best_directions",
    "DirectionTable",
    "compare",
    "probe_bases",
    "Comparison",
    "IntervalEstimate",
    "sweep_directions",
    "judge_sweep",
    "embedding_spectrum",
    "kernel_spectrum",
    "key_frequencies",
    "top_examples",
    "top_tokens",
    # eigendirections in the weights
    "weight_directions",
    "WeightDirections",
    "WeightDirection",
    "project",
    "reads_and_writes",
    "ReadsAndWrites",
    "nudge",
    "ablate",
    "nudge_response",
    "NudgeResponse",
    "position_contributions",
    "PositionContributions",
    # figures
    "plot",
    # training
    "Track",
    "Watch",
    "Course",
    "Peak",
    "onset",
    "midpoint",
    "relation",
    # language models
    "load_language_model",
    "greedy_continuation",
    "sample_stories",
    # files
    "save",
    "load",
    "save_vector_set",
]

# a name is imported when first asked for: torch and scikit-learn take seconds, the command line's
# help needs neither
_MODULES = {
    "feature_sets.errors": "UserError",
    "tl_entk.alignment.activations": "activations_at",
    "tl_entk.alignment.attribution": "component_shares head_shares layer_shares",
    "tl_entk.alignment.baselines": "pca_scores random_directions",
    "tl_entk.alignment.best_directions": "DirectionTable best_directions",
    "tl_entk.alignment.bootstrap": "IntervalEstimate",
    "tl_entk.alignment.comparison": "Comparison compare probe_bases",
    "tl_entk.alignment.controls": "center_within",
    "tl_entk.alignment.frequencies": "embedding_spectrum kernel_spectrum key_frequencies",
    "tl_entk.alignment.model_baselines": "baseline_scores",
    "tl_entk.alignment.overlap": (
        "SubspaceOverlap abs_cosines group_projections purity subspace_overlap"
    ),
    "tl_entk.alignment.readout_sweep": "judge_sweep sweep_directions",
    "tl_entk.alignment.sae_scores": "SaeScores sae_scores",
    "tl_entk.compressed.eigendirections": "all_eigendirections",
    "tl_entk.directions.cliffs": "Cliff find_cliffs",
    "tl_entk.directions.cost": "Estimate",
    "tl_entk.directions.default": "default_directions",
    "tl_entk.directions.eigen": "EigenDirections eigendecompose",
    "tl_entk.directions.examples": "top_examples top_tokens",
    "tl_entk.directions.laplacians": "kernel_laplacian torus_laplacians",
    "tl_entk.directions.rotation": "Rotation rotate_by_smoothness",
    "tl_entk.directions.solver": "leading_eigenpairs",
    "tl_entk.directions.symmetric_operator": "SymmetricOperator",
    "tl_entk.directions.unsupervised_rotation": "rotate_by_ica rotate_by_kernel rotate_by_varimax",
    "tl_entk.dynamics.course": "Course Peak",
    "tl_entk.dynamics.grokking": "midpoint onset relation",
    "tl_entk.dynamics.track": "Track",
    "tl_entk.dynamics.watch": "Watch",
    "tl_entk.kernel.blocks": "kernel_blocks list_components",
    "tl_entk.kernel.kernel_blocks": "KernelBlocks",
    "tl_entk.kernel.normalize": "center cosine_normalize",
    "tl_entk.language.loading": "load_language_model",
    "tl_entk.language.next_words": "greedy_continuation",
    "tl_entk.language.story_model.sample": "sample_stories",
    "tl_entk.language.vector_set": "save_vector_set",
    "tl_entk.linearization.build_jacobian": "jacobian",
    "tl_entk.linearization.fit": "Linearized linearized",
    "tl_entk.linearization.jacobian": "Jacobian",
    "tl_entk.model.linear_map": "Bias LinearMap",
    "tl_entk.model.readouts": "Readout sampled_class_trace",
    "tl_entk.operator.build": "kernel_operator",
    "tl_entk.operator.normalized_operator": "gradient_norms",
    "tl_entk.operator.operator": "KernelOperator",
    "tl_entk.operator.top_directions": "top_eigendirections",
    "tl_entk.results": "load save",
    "tl_entk.tools.ranks": "Ranks split_over_ranks",
    "tl_entk.weight_space.directions": "WeightDirection WeightDirections",
    "tl_entk.weight_space.gather": "weight_directions",
    "tl_entk.weight_space.nudge": "ablate nudge",
    "tl_entk.weight_space.position_contributions": "PositionContributions position_contributions",
    "tl_entk.weight_space.project": "project",
    "tl_entk.weight_space.read_write": "ReadsAndWrites reads_and_writes",
    "tl_entk.weight_space.response": "NudgeResponse nudge_response",
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name == "plot":
        return import_module("tl_entk.plot")
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
