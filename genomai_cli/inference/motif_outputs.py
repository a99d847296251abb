"""The motifs of explained sequences, label by label: a motif file and logos."""

import re
from collections.abc import Iterator
from typing import IO, Any

from genomai_cli.formats.meme import MemeMotif, write_meme
from genomai_cli.inference.explain import Explanation
from genomai_cli.inference.motif_enrichment import MAX_E_VALUE, EnrichedMotif, enriched_motifs
from genomai_cli.inference.motif_picture import motif_picture
from genomai_cli.inference.motifs import AttributedSequence, background_of
from genomai_cli.names import printable


class MotifSearch:
    """Explanations are added, then `run` finds what those of each label have in common."""

    def __init__(self) -> None:
        self._sequences: dict[str, list[AttributedSequence]] = {}
        self.found: list[tuple[str, EnrichedMotif]] = []

    def add(self, explanation: Explanation) -> None:
        """One more sequence."""
        sequence = AttributedSequence.of(explanation.letters, explanation.attributions)
        self._sequences.setdefault(explanation.label, []).append(sequence)

    def run(self, seed: int) -> Iterator[str]:
        """Find the enriched motifs; a line about each label and each motif."""
        for label, sequences in sorted(self._sequences.items()):
            search = enriched_motifs(sequences, seed)
            yield (
                f"{label}: of {search.tested} motifs in {len(sequences)} sequences {len(search.enriched)} are enriched "
                f"(E at most {MAX_E_VALUE:g}, half of the sequences against shuffled ones)"
            )
            name = re.sub(r"\s", "_", printable(label.partition(":")[2] or label))
            for number, entry in enumerate(search.enriched, start=1):
                self.found.append((f"{name}_{number}", entry))
                yield self._caption(*self.found[-1])

    @staticmethod
    def _caption(name: str, entry: EnrichedMotif) -> str:
        return (
            f"{name} {entry.motif.consensus}: {entry.motif.sites} sites, in {entry.matched} of {entry.tested} "
            f"sequences and {entry.matched_shuffled} shuffled ones, E {entry.e_value:.1e}"
        )

    @property
    def facts(self) -> list[dict[str, Any]]:
        """The motifs for a run's record."""
        return [
            {
                "name": name,
                "consensus": entry.motif.consensus,
                "sites": entry.motif.sites,
                "tested": entry.tested,
                "matched": entry.matched,
                "shuffled": entry.matched_shuffled,
                "e_value": entry.e_value,
            }
            for name, entry in self.found
        ]

    def write(self, out: IO[bytes]) -> None:
        """The motifs in MEME's format."""
        all_sequences = [
            sequence for sequences in self._sequences.values() for sequence in sequences
        ]
        motifs = (
            MemeMotif(name, e.motif.consensus, e.motif.frequencies, e.motif.sites, e.e_value)
            for name, e in self.found
        )
        write_meme(out, motifs, background_of(all_sequences).tolist())

    def picture(self, title: str, ending: str) -> bytes:
        """Their logos."""
        return motif_picture(
            [(self._caption(*named), named[1].motif) for named in self.found], title, ending
        )
