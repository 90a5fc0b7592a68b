"""tl_entk: features of a TransformerLens model from its empirical neural tangent kernel."""

from tl_entk.alignment.attribution import component_shares, head_shares, layer_shares
from tl_entk.alignment.baselines import activations_at, pca_scores, random_directions
from tl_entk.alignment.best_directions import DirectionTable, best_directions
from tl_entk.alignment.comparison import Comparison, compare
from tl_entk.alignment.frequencies import embedding_spectrum, kernel_spectrum, key_frequencies
from tl_entk.alignment.overlap import (
    SubspaceOverlap,
    abs_cosines,
    group_projections,
    purity,
    subspace_overlap,
)
from tl_entk.directions.cliffs import Cliff, find_cliffs
from tl_entk.directions.cost import Estimate
from tl_entk.directions.eigen import EigenDirections, eigendecompose
from tl_entk.directions.laplacians import kernel_laplacian, torus_laplacians
from tl_entk.directions.rotation import Rotation, rotate_by_smoothness
from tl_entk.directions.solver import leading_eigenpairs
from tl_entk.directions.unsupervised_rotation import (
    rotate_by_ica,
    rotate_by_kernel,
    rotate_by_varimax,
)
from tl_entk.dynamics.course import Course, Peak
from tl_entk.dynamics.grokking import midpoint, onset, relation
from tl_entk.dynamics.track import Track
from tl_entk.dynamics.watch import Watch
from tl_entk.kernel.blocks import KernelBlocks, kernel_blocks, list_components
from tl_entk.kernel.normalize import center, cosine_normalize
from tl_entk.linearization.build_jacobian import jacobian
from tl_entk.linearization.fit import Linearized, linearized
from tl_entk.linearization.jacobian import Jacobian
from tl_entk.model.linear_map import Bias, LinearMap
from tl_entk.model.readouts import Readout, sampled_class_trace
from tl_entk.operator.build import kernel_operator
from tl_entk.operator.operator import KernelOperator
from tl_entk.operator.top_directions import top_eigendirections
from tl_entk.results import load, save

__all__ = [
    "Bias",
    "Cliff",
    "Comparison",
    "Course",
    "DirectionTable",
    "EigenDirections",
    "Estimate",
    "Jacobian",
    "KernelBlocks",
    "KernelOperator",
    "LinearMap",
    "Linearized",
    "Peak",
    "Readout",
    "Rotation",
    "SubspaceOverlap",
    "Track",
    "Watch",
    "abs_cosines",
    "activations_at",
    "best_directions",
    "center",
    "compare",
    "component_shares",
    "cosine_normalize",
    "eigendecompose",
    "embedding_spectrum",
    "find_cliffs",
    "group_projections",
    "head_shares",
    "jacobian",
    "kernel_blocks",
    "kernel_laplacian",
    "kernel_operator",
    "kernel_spectrum",
    "key_frequencies",
    "layer_shares",
    "leading_eigenpairs",
    "linearized",
    "list_components",
    "load",
    "midpoint",
    "onset",
    "pca_scores",
    "purity",
    "random_directions",
    "relation",
    "rotate_by_ica",
    "rotate_by_kernel",
    "rotate_by_smoothness",
    "rotate_by_varimax",
    "sampled_class_trace",
    "save",
    "subspace_overlap",
    "top_eigendirections",
    "torus_laplacians",
]
