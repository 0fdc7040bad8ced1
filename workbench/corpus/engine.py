"""The engine of the stages that turn text into tokens. It needs no accelerator and no torch."""

from __future__ import annotations

from typing import Any

from workbench.contract import Job, Reporter, Warned
from workbench.corpus.stage_engine import StageEngine

LIBRARIES = ("numpy", "orjson", "pyarrow", "tiktoken", "tokenizers", "xxhash")


class CorpusEngine(StageEngine):
    """Runs what turns files into corpora, tokens and conversations.

    Imports and shards go on where they were stopped, the other stages begin anew.
    """

    name = "corpus"
    module = "workbench.corpus"
    stages = ("import", "tokenizer", "import-tokenizer", "extend-tokenizer", "shards", "import-chat", "template-chat")
    libraries = dict(zip(LIBRARIES, LIBRARIES, strict=True))
    optional = frozenset({"tiktoken"})  # without it, shards take longer

    def run_stage(self, job: Job, reporter: Reporter) -> dict[str, Any] | None:
        from workbench.corpus.progress import ProgressReport
        from workbench.recipes.base import validate, weighted
        from workbench.recipes.chats import ImportChatRecipe
        from workbench.recipes.corpus import ImportRecipe, ShardsRecipe

        progress = ProgressReport(reporter)

        def warn(message: str) -> None:
            reporter.emit(Warned(message=message))

        match job.stage:
            case "import":
                from workbench.corpus.importer import import_corpus

                recipe = validate(ImportRecipe, job.recipe)
                return import_corpus(recipe, job.output, job.directory / "work", progress, warn)
            case "tokenizer":
                from workbench.corpus.tokenizer_training import Part, train_tokenizer
                from workbench.recipes.tokenizer import TokenizerRecipe

                wanted = validate(TokenizerRecipe, job.recipe).resolved()
                named = map(weighted, wanted.corpus)
                parts = [Part(name, job.inputs[f"corpus.{n}"], weight) for n, (name, weight) in enumerate(named)]
                return train_tokenizer(wanted, parts, job.output, progress, warn)
            case "import-tokenizer":
                from workbench.corpus.tokenizer_changes import import_tokenizer
                from workbench.recipes.tokenizer import ImportTokenizerRecipe

                return import_tokenizer(validate(ImportTokenizerRecipe, job.recipe), job.output, warn)
            case "extend-tokenizer":
                from workbench.corpus.tokenizer_changes import extend_tokenizer
                from workbench.recipes.tokenizer import ExtendTokenizerRecipe

                extended = validate(ExtendTokenizerRecipe, job.recipe)
                return extend_tokenizer(extended, job.inputs["tokenizer"], job.output, warn)
            case "shards":
                from workbench.corpus.tokenise import tokenise

                recipe = validate(ShardsRecipe, job.recipe)
                corpus, tokenizer = job.inputs["corpus"], job.inputs["tokenizer"]
                return tokenise(recipe, corpus, tokenizer, job.output, job.directory / "work", progress, warn)
            case "import-chat":
                from workbench.corpus.chats.importer import import_chat

                return import_chat(validate(ImportChatRecipe, job.recipe), job.output, progress, warn)
            case "template-chat":
                from workbench.corpus.chats.tasks import template_chat
                from workbench.recipes.instructions import TemplateChatRecipe

                tasks = validate(TemplateChatRecipe, job.recipe).resolved()
                return template_chat(tasks, job.output, progress, warn)
        raise self.no_stage(job.stage)
