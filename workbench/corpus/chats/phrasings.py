"""Ways to ask for a classic task, as in FLAN (Wei et al. 2021): `{text}`, `{question}`, `{choices}`, `{labels}`."""

CLASSIFICATION = (
    "{text}\n\nWhich of these is it: {labels}?",
    "Classify the following text as one of: {labels}.\n\n{text}",
    "Read the text and answer with one of {labels}.\n\nText: {text}",
    "Text: {text}\n\nChoose the label that fits best ({labels}).",
    "Here is a text:\n\n{text}\n\nDecide between {labels}. Answer with the label alone.",
    "What label would you give this text? The labels are {labels}.\n\n{text}",
)
OPEN_CLASSIFICATION = (
    "{text}\n\nWhat is the label of this text?",
    "Label the following text.\n\n{text}",
    "Read the text and answer with its label.\n\nText: {text}",
    "Text: {text}\n\nGive the label that fits best.",
    "Here is a text:\n\n{text}\n\nAnswer with its label alone.",
    "What label would you give this text?\n\n{text}",
)
QUESTION = (
    "{question}",
    "Answer the following question.\n\n{question}",
    "Question: {question}\nAnswer:",
    "I have a question: {question}",
    "Please answer this: {question}",
    "{question}\n\nGive the answer.",
)
QUESTION_ABOUT = (
    "{text}\n\n{question}",
    "Read the following and answer the question.\n\n{text}\n\nQuestion: {question}",
    "Using the text below, answer: {question}\n\n{text}",
    "Text: {text}\n\nQuestion: {question}\nAnswer:",
    "{question}\n\nThe answer stands in this text:\n\n{text}",
    "Here is a passage:\n\n{text}\n\nNow answer this question about it: {question}",
)
CHOICE = (
    "{question}\n\n{choices}",
    "{question}\n\nChoose one:\n{choices}",
    "Answer the question by choosing one of the options.\n\n{question}\n\n{choices}",
    "Question: {question}\nOptions:\n{choices}\nAnswer:",
    "Which option is right?\n\n{question}\n\n{choices}",
    "{question}\n\nThe options are:\n{choices}\n\nAnswer with the right one.",
)
SUMMARY = (
    "Summarise the following text.\n\n{text}",
    "{text}\n\nSummarise this in a few words.",
    "What is the text below about?\n\n{text}",
    "Text: {text}\n\nSummary:",
    "Write a short summary of this:\n\n{text}",
    "Here is a text:\n\n{text}\n\nTell me briefly what it says.",
)
