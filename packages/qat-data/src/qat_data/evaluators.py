"""Names of the evaluators, apart from `matching`: to print its help, the command needs no numpy."""

CHOICES = ("auto", "pycocotools", "faster-coco-eval")
