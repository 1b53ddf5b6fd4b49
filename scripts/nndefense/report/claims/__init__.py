"""Claims of the papers' texts, judged on this run's answers by paired bootstrap over the test images."""
