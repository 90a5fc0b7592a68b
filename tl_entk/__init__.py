"""tl_entk: features of a TransformerLens model from its empirical neural tangent kernel."""

from tl_entk.alignment import SubspaceOverlap, abs_cosines, group_projections, subspace_overlap
from tl_entk.attribution import component_shares, head_shares, layer_shares
from tl_entk.baselines import activations_at, pca_scores, random_directions
from tl_entk.best_directions import DirectionTable, best_directions
from tl_entk.blocks import KernelBlocks, kernel_blocks, list_components
from tl_entk.build_jacobian import jacobian
from tl_entk.build_operator import kernel_operator
from tl_entk.cliffs import Cliff, find_cliffs
from tl_entk.comparison import Comparison, compare
from tl_entk.course import Course, Peak
from tl_entk.dynamics import Track
from tl_entk.eigen import EigenDirections, eigendecompose
from tl_entk.estimate import Estimate
from tl_entk.frequencies import embedding_spectrum, kernel_spectrum, key_frequencies
from tl_entk.grokking import midpoint, onset, relation
from tl_entk.laplacians import kernel_laplacian, torus_laplacians
from tl_entk.linear_map import Bias, LinearMap
from tl_entk.linearized import Linearized, linearized
from tl_entk.normalize import center, cosine_normalize
from tl_entk.operator import KernelOperator
from tl_entk.output_jacobian import Jacobian
from tl_entk.random_probes import sampled_class_trace
from tl_entk.readouts import Readout
from tl_entk.results import load, save
from tl_entk.rotation import SmoothRotation, purity, rotate_by_smoothness
from tl_entk.solver import leading_eigenpairs
from tl_entk.top_directions import top_eigendirections
from tl_entk.unsupervised_rotation import rotate_by_ica, rotate_by_kernel, rotate_by_varimax
from tl_entk.watch import Watch

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
    "SmoothRotation",
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
