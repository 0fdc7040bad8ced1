"""What can be done, place by place: names, keys, what a command takes, and help."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """`id` is "place.verb"; `key` is Textual's name of a key, several joined by commas."""

    id: str
    title: str
    help: str
    key: str = ""
    argument: str = ""  # what the verb takes on the command line, as the help shows it
    footer: bool = True  # whether the line at the bottom has room for it

    @property
    def place(self) -> str:
        return self.id.partition(".")[0]

    @property
    def verb(self) -> str:
        return self.id.partition(".")[2]

    @property
    def method(self) -> str:
        return self.verb.replace("-", "_")


def _judging(place: str) -> tuple[Action, ...]:
    """What is done with a pair and with a whole set alike."""
    return (
        Action(
            id=f"{place}.page", key="space", title="Read on", footer=False,
            help="A page down, or to the next answer that was not read to its end.",
        ),
        Action(id=f"{place}.next", key="tab,right", title="Next", help="The next answer.", footer=False),
        Action(id=f"{place}.previous", key="left", title="Previous", help="The answer before.", footer=False),
        Action(id=f"{place}.skip", key="s", title="Skip", help="Not to be asked about this; others are."),
        Action(
            id=f"{place}.flag", key="f", title="Flag", argument="NOTE",
            help="The prompt is no good: nothing of it comes again, to anyone.",
        ),
        Action(
            id=f"{place}.edit", key="e", title="Edit",
            help="Rewrite the answer that has the focus: a row for SFT, and better than what it was.",
        ),
        Action(id=f"{place}.tags", key="t", title="Tags", argument="TAG...", help="Tags of it.", footer=False),
        Action(id=f"{place}.note", key="n", title="Note", argument="TEXT", help="A note on it.", footer=False),
        Action(id=f"{place}.undo", key="z", title="Undo", help="Take back what you judged last; it is shown again."),
        Action(
            id=f"{place}.standing", key="i", title="Standing",
            help="What the judgements have come to: agreement, biases, the models' strengths, how many pairs to go.",
        ),
        Action(id=f"{place}.zoom", key="plus", title="Zoom", help="One text over the screen, and back.", footer=False),
        Action(id=f"{place}.back", key="escape", title="Back", help="Leave the zoom, or go back.", footer=False),
    )  # fmt: skip


STAGES = (
    ("import", "Import text", "SOURCE... --name NAME", "Read text files into a corpus."),
    ("tokenizer", "Train a tokenizer", "--corpus CORPUS", "Learn a vocabulary over bytes from one corpus or several."),
    ("import-tokenizer", "Import a tokenizer", "SOURCE --name NAME", "Make a tokenizer.json the project's."),
    ("extend-tokenizer", "Extend a tokenizer", "TOKENIZER --tokens TOKEN", "Add tokens to a tokenizer."),
    ("pretrain", "Pretrain", "--corpus CORPUS --tokenizer TOKENIZER", "Train a model from scratch."),
    ("import-model", "Bring in a model", "SOURCE --name NAME", "Make a model folder or a GGUF file the project's."),
    ("import-chat", "Import chats", "SOURCE... --name NAME", "Read conversations, of eight formats."),
    ("template-chat", "Chats from a table", "SOURCE... --task TASK", "Phrase a classic task's rows as conversations."),
    ("self-instruct", "Self-instruct", "SOURCE... --model MODEL", "New instructions and answers from a few examples."),
    ("sft", "SFT", "--base MODEL --data CHATS", "Train a model on conversations."),
    ("continue", "Continue pretraining", "--base MODEL --corpus CORPUS", "Train a model further on plain text."),
    ("import-preferences", "Import preferences", "SOURCE... --name NAME", "Read pairs of answers, or marked ones."),
    ("candidates", "Write candidates", "--model MODEL --prompts FILE", "Have models answer prompts, for ranking."),
    ("collect", "Collect judgements", "--candidates NAME", "Make preferences of what was judged in the Arena."),
    ("judge", "Judge", "CANDIDATES --rule RULE", "Have a rule or a model rank candidates."),
    ("assess", "Assess", "MODEL... --prompts FILE", "Have a judge compare, or grade, what models answer."),
    ("reward", "Reward model", "--base MODEL --preferences NAME", "Train a model to score answers as you do."),
    ("dpo", "DPO", "--base MODEL --preferences NAME", "Train on pairs of a better and a worse answer."),
    ("orpo", "ORPO", "--base MODEL --preferences NAME", "Pairs, and the better answers' own loss, in one training."),
    ("kto", "KTO", "--base MODEL --preferences NAME", "Train on answers that are marked good or bad."),
    ("ppo", "PPO", "--base MODEL --reward MODEL --prompts FILE", "Train on own answers, by a reward model."),
    ("grpo", "GRPO", "--base MODEL --reward MODEL --prompts FILE", "Groups of own answers, each against its group."),
    ("merge-adapter", "Merge an adapter", "MODEL --name NAME", "Write a model with its adapter added to its weights."),
    ("benchmark", "Benchmark", "--model MODEL --panel PANEL", "Measure a model on a panel of tasks, item by item."),
    ("export", "Export", "MODEL --quantization q8_0", "Write a model as GGUF, quantise it and check it."),
)
"""The stages that can be typed: verb, title, what it takes, help. In words of their own: the recipe classes would
come with pydantic, before the first paint. A test compares the verbs with the recipes'."""


def _stages() -> tuple[Action, ...]:
    return tuple(
        Action(id=f"everywhere.{stage}", title=title, argument=argument, help=help)
        for stage, title, argument, help in STAGES
    )


ACTIONS = (
    # Start
    Action(id="start.new", key="n", title="New project", help="Make a project in an empty folder."),
    Action(id="start.browse", key="o", title="Open folder", help="Open the project in a folder."),
    Action(id="start.demo", key="d", title="Demo", help="Make a small model from Python's own documentation: minutes."),
    # Map
    Action(id="map.next", key="n", title="Next step", help="Do what the map proposes as the next step."),
    Action(id="map.run", key="r", title="Its run", help="Show the run that makes or made the chosen artifact."),
    Action(id="map.make", key="a", title="Make another", help="Start the chosen stage anew."),
    Action(id="map.back", key="escape", title="Back", help="Back to the road."),
    Action(id="road.previous", key="left,up", title="Previous", help="The stop before.", footer=False),
    Action(id="road.following", key="right,down", title="Following", help="The stop after.", footer=False),
    Action(id="road.open", key="enter", title="Open", help="What is made there: versions, origin, recipe, report."),
    # Runs
    Action(id="runs.back", key="escape", title="Back", help="Leave the zoom, or clear the filter and the marks."),
    Action(
        id="runs.stop", key="s", title="Stop", argument="RUN",
        help="Write a checkpoint and end. Nothing is lost: it can be resumed.",
    ),
    Action(
        id="runs.again", key="a", title="Again", argument="RUN", footer=False,
        help="Open the form with the run's recipe, to start it anew or otherwise.",
    ),
    Action(id="runs.resume", key="r", title="Resume", argument="RUN", help="Go on from the last checkpoint."),
    Action(
        id="runs.checkpoint", key="w", title="Checkpoint", argument="RUN", help="Write a checkpoint now, and go on."
    ),
    Action(
        id="runs.kill", key="k", title="Kill", argument="RUN", footer=False,
        help="End it at once, back to its last checkpoint. For a run that does not answer a stop.",
    ),
    Action(
        id="runs.note", key="n", title="Note", argument="TEXT", footer=False,
        help="Write a remark into the chosen run's events.",
    ),
    Action(
        id="runs.show", title="Show", argument="RUN", footer=False, help="Put the cursor on a run.",
    ),
    Action(id="runs.mark", key="space", title="Mark", help="Mark the run for a comparison.", footer=False),
    Action(id="runs.compare", key="c", title="Compare", help="Marked runs in one chart, and how their recipes differ."),
    Action(
        id="runs.filter", key="slash", title="Filter", argument="TEXT",
        help="Only runs whose name, stage or state holds the text. An empty text shows all.",
    ),
    Action(id="runs.metric", key="m", title="Metric", help="Another curve: loss, learning rate, gradient norm, ..."),
    Action(
        id="runs.inspect", key="x", title="What is trained on", argument="RUN", footer=False,
        help="The batches that the chosen run, or the one that made a model, trains on, token by token.",
    ),
    Action(id="runs.log", key="1", title="Log", help="What its process printed.", footer=False),
    Action(id="runs.samples", key="2", title="Samples", help="Texts that the model wrote.", footer=False),
    Action(id="runs.checkpoints", key="3", title="Checkpoints", help="What is kept to resume from.", footer=False),
    Action(id="runs.events", key="4", title="Events", help="Warnings, requests and remarks.", footer=False),
    Action(id="runs.recipe", key="5", title="Recipe", help="What was asked for, in full.", footer=False),
    Action(id="runs.zoom", key="plus", title="Zoom", help="The chosen run over the whole screen, and back."),
    # The comparison
    Action(id="compare.metric", key="m", title="Metric", help="Another curve."),
    Action(id="compare.back", key="escape", title="Back", help="Back to the runs."),
    # Data
    Action(
        id="data.read", title="Read", argument="NAME", footer=False,
        help="Read the chosen set row by row. Enter on it does that, too.",
    ),
    Action(
        id="data.inspect", key="x", title="What is trained on", argument="RUN",
        help="The batches of a run (or of the one that made a model), or of a new recipe, token by token.",
    ),
    Action(
        id="data.rejects", key="r", title="Funnel", argument="NAME",
        help="What cleaning did to a corpus, step by step, with examples; and what another threshold would do.",
    ),
    Action(
        id="data.clusters", key="c", title="Duplicates", argument="NAME",
        help="Near duplicates of a corpus, side by side.",
    ),
    # Rows
    Action(
        id="records.search", key="slash", title="Search", argument="WORDS",
        help="Only rows that hold all these words. In a corpus language:de is one, and licence:MIT.",
    ),
    Action(id="records.tokens", key="t", title="Tokens", help="The document as tokens."),
    Action(
        id="records.accept", key="y", title="Accept",
        help="This made-up row is good: it may be trained on. A document: an example of good ones, for a classifier.",
    ),
    Action(
        id="records.reject", key="n", title="Reject",
        help="This made-up row is no good. A document: an example of bad ones.",
    ),
    Action(id="records.undo", key="z", title="Undo", help="Take back the last yes or no.", footer=False),
    Action(
        id="records.rejects", key="x", title="Left out",
        help="What was left out when the set was made, with the reason and how it begins; and back.",
    ),
    Action(
        id="records.make", key="m", title="Make a set", argument="NAME",
        help="Make conversations of the rows that were accepted.",
    ),
    Action(id="records.zoom", key="plus", title="Zoom", help="The row over the whole screen, and back."),
    Action(id="records.back", key="escape", title="Back", help="Leave the zoom, clear the search, or go back."),
    # What was left out
    Action(id="rejects.next", key="n", title="Next", help="The next example, or the next changed document."),
    Action(id="rejects.previous", key="p", title="Previous", help="The one before."),
    Action(
        id="rejects.threshold", key="t", title="Threshold", argument="PARAMETER=VALUE",
        help="Run the steps again on the corpus' sample with another threshold: what would be kept instead.",
    ),
    Action(id="rejects.zoom", key="plus", title="Zoom", help="The example over the whole screen, and back."),
    Action(id="rejects.back", key="escape", title="Back", help="Leave the zoom or the threshold, or go back."),
    # Near duplicates
    Action(id="clusters.next", key="n", title="Next", help="The cluster's next document beside the kept one."),
    Action(id="clusters.previous", key="p", title="Previous", help="The one before."),
    Action(id="clusters.zoom", key="plus", title="Zoom", help="The two over the whole screen, and back."),
    Action(id="clusters.back", key="escape", title="Back", help="Leave the zoom, or go back."),
    # A document's tokens
    Action(
        id="document.tokenizer", key="m", title="Tokenizer", argument="NAME", help="By the next tokenizer, or this one."
    ),
    Action(id="document.back", key="escape", title="Back", help="Back to the rows."),
    # Inspector
    Action(id="inspector.next", key="n", title="Next batch", help="The batch of the next optimizer step."),
    Action(id="inspector.next-row", key="j", title="Next row", help="The next sequence of the batch."),
    Action(id="inspector.previous", key="p", title="Previous", help="The batch of the step before."),
    Action(
        id="inspector.previous-row", key="k", title="Previous row", help="The sequence before.", footer=False
    ),
    Action(id="inspector.batch", key="b", title="Batch", argument="STEP", help="The batch of an optimizer step."),
    Action(id="inspector.back", key="escape", title="Back", help="Leave the inspector."),
    Action(id="tokens.left", key="left", title="Left", help="The token before.", footer=False),
    Action(id="tokens.right", key="right", title="Right", help="The next token.", footer=False),
    Action(id="tokens.up", key="up", title="Up", help="A token in the line above.", footer=False),
    Action(id="tokens.down", key="down", title="Down", help="A token in the line below.", footer=False),
    Action(id="tokens.page-up", key="pageup", title="Page up", help="A page up.", footer=False),
    Action(id="tokens.page-down", key="pagedown", title="Page down", help="A page down.", footer=False),
    Action(id="tokens.first", key="home", title="First", help="The first token.", footer=False),
    Action(id="tokens.last", key="end", title="Last", help="The last token.", footer=False),
    Action(
        id="tokens.stretch", key="space", title="Next stretch",
        help="To where another role, or what is trained on, begins.",
    ),
    # Models
    Action(id="models.chat", key="c", title="Chat", argument="MODEL", help="Talk to the chosen model or export."),
    Action(
        id="models.export", key="e", title="Export", argument="MODEL",
        help="Write the chosen model as GGUF, in a format of your choice.",
    ),
    Action(id="models.run", key="r", title="Its run", argument="MODEL", help="Show the run that made it."),
    Action(
        id="models.verify", key="v", title="Verify", argument="MODEL",
        help="Read every file of it and compare with the hashes of when it was made.",
    ),
    Action(id="models.new", key="n", title="New", help="Start what leads to another model: a pretraining."),
    Action(id="models.zoom", key="plus", title="Zoom", help="The details over the whole screen, and back."),
    Action(id="models.back", key="escape", title="Back", help="Leave the zoom.", footer=False),
    # Chat
    Action(id="chat.stop", key="escape", title="Stop", help="Stop the answer, and keep what came of it."),
    Action(id="chat.write", key="i,enter", title="Write", help="To the line that one writes on."),
    Action(id="chat.model", key="m", title="Model", argument="MODEL", help="Open another model; the talk stays."),
    Action(
        id="chat.engine", key="e", title="Engine", argument="ENGINE", footer=False,
        help="Open the model with another engine; the talk stays.",
    ),
    Action(
        id="chat.settings", key="t", title="Settings", argument="KEY VALUE",
        help="How answers are drawn: temperature, top_p, max_tokens and so on.",
    ),
    Action(
        id="chat.side-by-side", key="2", title="Two models", argument="A B",
        help="Ask two models the same, and see their answers next to each other; NAME=ENGINE opens one with that.",
    ),
    Action(id="chat.retry", key="r", title="Retry", help="Answer the last question again."),
    Action(id="chat.undo", key="z", title="Undo", help="Take back the last question and its answer.", footer=False),
    Action(id="chat.clear", key="n", title="New", help="Begin anew; system message and settings stay.", footer=False),
    Action(
        id="chat.save", key="w", title="Save", argument="FILE", footer=False,
        help="Write the conversation to a file in the project.",
    ),
    Action(id="chat.close", key="x", title="Close", help="Close the model, which frees its memory.", footer=False),
    # Two models
    Action(id="side.other", key="tab,left,right", title="Other", help="Choose the other answer."),
    Action(
        id="side.probabilities", key="p", title="Probabilities",
        help="How likely each token of the chosen answer was, and what was likely instead.",
    ),
    Action(
        id="side.arena", key="a", title="To the Arena",
        help="Keep the question with both answers in the set `chat`, to be ranked.",
    ),
    Action(
        id="side.teach", key="f", title="For SFT",
        help="Keep the question with the chosen answer in the conversations `chat-answers`.",
    ),
    Action(id="side.write", key="i,enter", title="Write", help="To the line that goes to both."),
    Action(id="side.stop", key="escape", title="Stop", help="Stop both answers; where none is written: go back."),
    Action(
        id="side.same", key="s", title="Same talk", footer=False,
        help="Both go on from the chosen answer, as if each had given it.",
    ),
    Action(
        id="side.settings", key="t", title="Settings", argument="KEY VALUE", footer=False,
        help="How answers are drawn, of both alike: temperature, seed, max_tokens and so on.",
    ),
    Action(id="side.clear", key="n", title="New", help="Begin anew with both.", footer=False),
    Action(id="ask.send", key="enter", title="Send", help="Send the line. One that begins with / is a command."),
    Action(id="ask.earlier", key="up", title="Earlier", help="What was sent before."),
    Action(id="ask.later", key="down", title="Later", help="What was sent after that.", footer=False),
    Action(id="ask.keys", key="escape", title="Keys", help="Leave the line: letters are keys then; i comes back."),
    # Arena
    Action(
        id="arena.rank", title="Rank", argument="NAME", footer=False,
        help="Judge the chosen answers in pairs. Enter on a row does that, too.",
    ),
    Action(id="arena.order", key="w", title="Whole sets", argument="NAME", help="Order all answers to a prompt."),
    Action(
        id="arena.compare", key="m", title="Models", argument="NAME",
        help="Only compare models: pairs of answers by different ones, kept apart from what trains.",
    ),
    Action(
        id="arena.choose", key="r", title="Reward model", argument="NAME", footer=False,
        help="Show those pairs first of which a reward model is least sure.",
    ),
    Action(id="arena.rater", key="n", title="Rater", argument="NAME", help="Judge under another name."),
    # Bench
    Action(
        id="bench.baseline", key="b", title="Baseline", argument="MODEL",
        help="Compare all others with this model: it stands first.",
    ),
    Action(id="bench.panel", key="p", title="Panel", argument="PANEL", help="Another panel, or everything."),
    Action(
        id="bench.history", key="h", title="History", help="The score over the steps of the model's training.",
    ),
    Action(
        id="bench.sort", key="s", title="Sort", argument="ORDER",
        help="Tasks as in the panel, by name, or by the chosen model's score or difference.",
    ),
    Action(
        id="bench.order", key="o", title="Order", argument="ORDER", footer=False,
        help="Models with the newest benchmark first, by name, or by their score in the chosen task.",
    ),
    Action(
        id="bench.filter", key="slash", title="Filter", argument="TEXT",
        help="Only tasks whose name holds the text. An empty text shows all.",
    ),
    Action(
        id="bench.fold", key="f", title="Fold", footer=False,
        help="The tasks of groups that are summed up, or only the groups.",
    ),
    Action(
        id="bench.model", key="m", title="Model", argument="MODEL", footer=False, help="Put the cursor on a model.",
    ),
    Action(
        id="bench.new", key="n", title="New", footer=False,
        help="Benchmark a model: the form, with the chosen model and panel in it.",
    ),
    Action(
        id="bench.checkpoints", key="k", title="Checkpoints", footer=False,
        help="Benchmark every kept checkpoint of the chosen model in the same way: what its history is drawn from.",
    ),
    Action(
        id="bench.export-bench", key="w", title="Export", argument="FORMAT", footer=False,
        help="Write these models and tasks to a file of the project: markdown, csv or json.",
    ),
    Action(id="bench.zoom", key="plus", title="Zoom", footer=False, help="The chosen cell over the screen, and back."),
    Action(id="bench.back", key="escape", title="Back", footer=False, help="Leave the zoom, or clear the filter."),
    Action(id="items.flipped", key="f", title="Flipped", help="Only items that one has right and the other wrong."),
    Action(id="items.all", key="a", title="All", help="All items."),
    Action(id="items.right", key="r", title="Right", help="Only items that the chosen model has right."),
    Action(id="items.wrong", key="w", title="Wrong", help="Only items that the chosen model has wrong."),
    Action(id="items.zoom", key="plus", title="Zoom", help="The item over the whole screen, and back."),
    Action(id="items.back", key="escape", title="Back", help="Leave the zoom, or go back to the grid."),
    Action(id="history.next", key="n", title="Next task", help="The curve of the next task."),
    Action(id="history.previous", key="p", title="Previous", help="The curve of the task before."),
    Action(id="history.metric", key="m", title="Metric", help="Another metric of the task."),
    Action(
        id="history.checkpoints", key="k", title="Checkpoints", help="Benchmark every kept checkpoint of the model.",
    ),
    Action(id="history.back", key="escape", title="Back", help="Back to the grid."),
    # Pairs
    Action(id="ranking.a-much", key="1", title="A, by far", help="The first answer is much better.", footer=False),
    Action(id="ranking.a", key="2", title="A", help="The first answer is better.", footer=False),
    Action(id="ranking.tie", key="3", title="Tie", help="They are equally good.", footer=False),
    Action(id="ranking.b", key="4", title="B", help="The second answer is better.", footer=False),
    Action(id="ranking.b-much", key="5", title="B, by far", help="The second answer is much better.", footer=False),
    Action(id="ranking.both-bad", key="b", title="Both bad", help="Neither is any good.", footer=False),
    *_judging("ranking"),
    # Whole sets
    Action(id="ordering.first", key="1", title="Place 1", help="Answer 1 comes next in the order.", footer=False),
    Action(id="ordering.second", key="2", title="Place 2", help="Answer 2 comes next in the order.", footer=False),
    Action(id="ordering.third", key="3", title="Place 3", help="Answer 3 comes next in the order.", footer=False),
    Action(id="ordering.fourth", key="4", title="Place 4", help="Answer 4 comes next in the order.", footer=False),
    Action(id="ordering.fifth", key="5", title="Place 5", help="Answer 5 comes next in the order.", footer=False),
    Action(id="ordering.sixth", key="6", title="Place 6", help="Answer 6 comes next in the order.", footer=False),
    Action(id="ordering.seventh", key="7", title="Place 7", help="Answer 7 comes next in the order.", footer=False),
    Action(id="ordering.eighth", key="8", title="Place 8", help="Answer 8 comes next in the order.", footer=False),
    Action(
        id="ordering.equal", key="equals_sign", title="As good", footer=False,
        help="The next one is as good as the last. Space says so, too, once all is read.",
    ),
    Action(id="ordering.take-back", key="backspace", title="Take back", help="What was placed last.", footer=False),
    Action(id="ordering.keep", key="enter", title="Keep", help="Keep this order, and go on to the next set."),
    *_judging("ordering"),
    Action(id="answer.up", key="up", title="Up", help="The line above.", footer=False),
    Action(id="answer.down", key="down", title="Down", help="The line below.", footer=False),
    Action(id="answer.first", key="home", title="First", help="The beginning.", footer=False),
    Action(id="answer.last", key="end", title="Last", help="The end; what was jumped over is not read.", footer=False),
    # Forms
    Action(id="form.start", key="s", title="Start", help="Start it with these values, and go to its run."),
    Action(
        id="form.inspect", key="x", title="What is trained on",
        help="The batches that it would train on, token by token.",
    ),
    Action(id="form.fold", key="f", title="Fold", help="Show or hide all further settings."),
    Action(id="form.leave", key="escape", title="Leave", help="Leave the form; nothing is started."),
    Action(id="field.next", key="down", title="Next", help="The field below."),
    Action(id="field.previous", key="up", title="Previous", help="The field above."),
    # Logs
    Action(id="log.up", key="up", title="Up", help="The line above.", footer=False),
    Action(id="log.down", key="down", title="Down", help="The line below.", footer=False),
    Action(id="log.page-up", key="pageup", title="Page up", help="A page up.", footer=False),
    Action(id="log.page-down", key="pagedown", title="Page down", help="A page down.", footer=False),
    Action(id="log.first", key="home", title="First", help="The first line that is kept.", footer=False),
    Action(id="log.last", key="end", title="Last", help="The last line, and stay with it.", footer=False),
    # Lists
    Action(id="list.up", key="up", title="Up", help="The row above.", footer=False),
    Action(id="list.down", key="down", title="Down", help="The row below.", footer=False),
    Action(id="list.page-up", key="pageup", title="Page up", help="A page up.", footer=False),
    Action(id="list.page-down", key="pagedown", title="Page down", help="A page down.", footer=False),
    Action(id="list.first", key="home", title="First", help="The first row.", footer=False),
    Action(id="list.last", key="end", title="Last", help="The last row.", footer=False),
    Action(id="list.open", key="enter", title="Open", help="Open the row."),
    # Grids
    Action(id="grid.left", key="left", title="Left", help="The column before.", footer=False),
    Action(id="grid.right", key="right", title="Right", help="The next column.", footer=False),
    Action(id="grid.up", key="up", title="Up", help="The row above.", footer=False),
    Action(id="grid.down", key="down", title="Down", help="The row below.", footer=False),
    Action(id="grid.page-left", key="less_than_sign", title="Page left", help="A page to the left.", footer=False),
    Action(
        id="grid.page-right", key="greater_than_sign", title="Page right", help="A page to the right.", footer=False
    ),
    Action(id="grid.page-up", key="pageup", title="Page up", help="A page up.", footer=False),
    Action(id="grid.page-down", key="pagedown", title="Page down", help="A page down.", footer=False),
    Action(id="grid.first", key="home", title="First", help="The first row.", footer=False),
    Action(id="grid.last", key="end", title="Last", help="The last row.", footer=False),
    Action(id="grid.open", key="enter", title="Open", help="Open the cell."),
    # Dialogs
    Action(id="dialog.yes", key="y", title="Yes", help="Do it."),
    Action(id="dialog.no", key="n,escape", title="No", help="Leave it."),
    # Everywhere
    Action(id="everywhere.go", key="g", title="Go", argument="SCREEN", help="To another screen: g, then its letter."),
    Action(
        id="everywhere.command", key="colon", title="Command", footer=False,
        help="Type a command, or search among all of them. A stage opens its form, with what was typed in it.",
    ),
    Action(id="everywhere.actions", key="full_stop", title="Actions", help="All that can be done here."),
    Action(
        id="everywhere.undo", key="z", title="Undo", footer=False,
        help="Take back what was done last.",
    ),
    Action(id="everywhere.help", key="question_mark", title="Help", help="What this is, and its keys."),
    Action(
        id="everywhere.detach", key="q", title="Detach",
        help="Leave the program. Runs go on; the next `workbench` shows them again.",
    ),
    Action(id="everywhere.open", title="Open a project", argument="PATH", help="Open the project in a folder."),
    Action(id="everywhere.new", title="New project", argument="PATH", help="Make a project in an empty folder."),
    *_stages(),
    Action(id="everywhere.repair", title="Repair", help="Rebuild the catalog from the project's files."),
    Action(id="everywhere.theme", title="Theme", argument="dark|light|ansi", help="Change the colours."),
)  # fmt: skip
