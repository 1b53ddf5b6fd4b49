"""Features g(x): activations of a residual block, pooled, and reduced by PCA (Dubey et al. 2019, §5.1)."""
