"""Made-up genomes with tracks, for tests."""

import numpy as np

LETTERS = 40_000


def write_genome(folder, *, shift=0):
    """`ref.fa`, two contigs, and `tracks.bed` with peaks of two tracks: `gc` lies on segments of C and G, `half` on
    the first half of each. With `shift`, so many letters stand before all others."""
    rng = np.random.default_rng(0)
    with (folder / "ref.fa").open("w") as fasta, (folder / "tracks.bed").open("w") as bed:
        for contig in ("chr1", "chr2"):
            letters = rng.choice(list("ACGT"), LETTERS)
            for window in range(500, LETTERS - 800, 1500):
                start = window + int(rng.integers(300))
                letters[start : start + 200] = rng.choice(list("CG"), 200)
                bed.write(f"{contig}\t{start + shift}\t{start + 200 + shift}\tgc\t500\n")
                bed.write(f"{contig}\t{start + shift}\t{start + 100 + shift}\thalf\t250\n")
            fasta.write(f">{contig}\n{'A' * shift}{''.join(letters)}\n")
    return folder
