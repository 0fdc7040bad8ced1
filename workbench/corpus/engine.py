"""The engine of the stages that turn text into tokens. It needs no accelerator and no torch."""

from __future__ import annotations

from typing import Any

from workbench.contract import Job, Reporter, Warned
from workbench.corpus.stage_engine import StageEngine

LIBRARIES = ("numpy", "orjson", "pyarrow", "tiktoken", "tokenizers", "xxhash")


class CorpusEngine(StageEngine):
    """Runs what turns files into corpora, tokens and conversations. A stopped stage begins anew when it is resumed."""

    name = "corpus"
    module = "workbench.corpus"
    stages = ("import", "tokenizer", "shards", "import-chat", "template-chat")
    libraries = dict(zip(LIBRARIES, LIBRARIES, strict=True))
    optional = frozenset({"tiktoken"})  # without it, shards take longer

    def run_stage(self, job: Job, reporter: Reporter) -> dict[str, Any] | None:
        from workbench.corpus.progress import ProgressReport
        from workbench.recipes.base import validate
        from workbench.recipes.chats import ImportChatRecipe
        from workbench.recipes.corpus import ImportRecipe, ShardsRecipe, TokenizerRecipe

        progress = ProgressReport(reporter)

        def warn(message: str) -> None:
            reporter.emit(Warned(message=message))

        match job.stage:
            case "import":
                from workbench.corpus.importer import import_corpus

                return import_corpus(validate(ImportRecipe, job.recipe), job.output, progress, warn)
            case "tokenizer":
                from workbench.corpus.tokenizer import train_tokenizer

                recipe = validate(TokenizerRecipe, job.recipe)
                return train_tokenizer(recipe, job.inputs["corpus"], job.output, progress, warn)
            case "shards":
                from workbench.corpus.tokenise import tokenise

                recipe = validate(ShardsRecipe, job.recipe)
                return tokenise(recipe, job.inputs["corpus"], job.inputs["tokenizer"], job.output, progress)
            case "import-chat":
                from workbench.corpus.chats.importer import import_chat

                return import_chat(validate(ImportChatRecipe, job.recipe), job.output, progress, warn)
            case "template-chat":
                from workbench.corpus.chats.tasks import template_chat
                from workbench.recipes.instructions import TemplateChatRecipe

                tasks = validate(TemplateChatRecipe, job.recipe).resolved()
                return template_chat(tasks, job.output, progress, warn)
        raise self.no_stage(job.stage)
