"""The commands of the maintainers' tools: ``python main.py benchmark``, ``chaos`` and ``fuzz``."""

from lib.cli.commands import Command

COMMANDS = {
    "acquisition": Command(
        "tools.commands.acquisition", "measure what the model finds on thicker slices and with a sharper kernel"
    ),
    "benchmark": Command(
        "tools.commands.benchmark", "measure indexing, frames, inference, and inference during a training"
    ),
    "chaos": Command("tools.commands.chaos", "kill the server at random moments and check that nothing is lost"),
    "fuzz": Command(
        "tools.commands.fuzz", "send mutated DICOM files, requests and labels to the server and check that it survives"
    ),
    "pictures": Command(
        "tools.commands.pictures", "take the pictures of the documentation again, in Chromium", ("/data/dicom",)
    ),
    "readers": Command("tools.commands.readers", "let several readers work at once and check that nothing is lost"),
}
