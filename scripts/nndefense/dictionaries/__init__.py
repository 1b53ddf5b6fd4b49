"""Semantic reconstruction dictionaries (Silva et al. 2021, 2022): a convolutional dictionary per cluster of latents.

An image is split into a low and a high band, the high band is coded by the dictionary of the image's cluster, and what
the code reconstructs takes the band's place. The comparators purify without a dictionary.
"""
