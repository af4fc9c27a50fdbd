"""Random views of a batch, and the contrastive loss that compares them."""

import torch

from fedseal.learning.representation import BASE_TEMPERATURE, ViewRecipe


def view_of(inputs: torch.Tensor, recipe: ViewRecipe, generator: torch.Generator) -> torch.Tensor:
    """One random view of each row.

    Args:
        inputs: Shape (rows, width); pixels of images in [0, 1], and so are those of the view.
        recipe: How far views go.
        generator: Source of all randomness.
    """
    if recipe.image is None:
        kept = torch.rand(inputs.shape, generator=generator) >= recipe.masked
        rows: torch.Tensor = inputs * kept + recipe.noise * torch.randn(inputs.shape, generator=generator)
        return rows
    images = _moved(inputs.reshape(len(inputs), *recipe.image), recipe, generator)
    gain, offset = (1 + recipe.contrast * draw for draw in _symmetric(2, len(inputs), generator))
    images = images * gain[:, None, None, None] + (offset - 1)[:, None, None, None]
    images = images + recipe.noise * torch.randn(images.shape, generator=generator)
    return torch.clamp(images, 0, 1).reshape(inputs.shape)


def contrastive_loss(embeddings: torch.Tensor, labels: torch.Tensor | None, temperature: float) -> torch.Tensor:
    """How much less alike an embedding is to its positives than to all others, mean over anchors.

    With i an anchor, A(i) all others, P(i) its positives, and s(i, a) = exp(z_i . z_a / tau):
        - (tau / tau_0) * mean over i of  1/|P(i)| sum_{p in P(i)} log( s(i, p) / sum_{a in A(i)} s(i, a) )

    Args:
        embeddings: Of length 1, shape (2 rows, size): the first views of all rows, then the second ones.
        labels: Shape (rows,): positives are all with the same label. None: only the other view of the same row is.
        temperature: tau.
    """
    rows = len(embeddings) // 2
    groups = torch.arange(rows) if labels is None else labels
    groups = torch.cat([groups, groups])
    itself = torch.eye(2 * rows, dtype=torch.bool)
    alike = (embeddings @ embeddings.T / temperature).masked_fill(itself, -torch.inf)
    log_share = alike - torch.logsumexp(alike, dim=1, keepdim=True)
    positive = (groups[:, None] == groups[None, :]) & ~itself
    summed = log_share.masked_fill(~positive, 0.0).sum(dim=1)
    loss: torch.Tensor = -(temperature / BASE_TEMPERATURE) * (summed / positive.sum(dim=1)).mean()
    return loss


def entropy(logits: torch.Tensor) -> torch.Tensor:
    """Mean entropy of the predictions, in nats; one logit a row stands for two classes."""
    if logits.shape[1] == 1:
        logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
    log_probabilities = torch.log_softmax(logits, dim=1)
    return -(log_probabilities.exp() * log_probabilities).sum(dim=1).mean()


def _moved(images: torch.Tensor, recipe: ViewRecipe, generator: torch.Generator) -> torch.Tensor:
    """Shifted, zoomed and mirrored; what comes in from outside is 0."""
    rows = len(images)
    zoom, right, down = _symmetric(3, rows, generator)
    size = 1 / (1 + recipe.zoom * zoom)
    mirror = torch.ones(rows)
    if recipe.flip:
        mirror = 1 - 2 * (torch.rand(rows, generator=generator) < 0.5).float()
    matrix = torch.zeros(rows, 2, 3)
    matrix[:, 0, 0], matrix[:, 1, 1] = size * mirror, size
    # Coordinates run from -1 to 1, so a whole side is 2.
    matrix[:, 0, 2], matrix[:, 1, 2] = 2 * recipe.shift * right, 2 * recipe.shift * down
    grid = torch.nn.functional.affine_grid(matrix, list(images.shape), align_corners=False)
    moved: torch.Tensor = torch.nn.functional.grid_sample(images, grid, align_corners=False)
    return moved


def _symmetric(count: int, rows: int, generator: torch.Generator) -> torch.Tensor:
    return 2 * torch.rand(count, rows, generator=generator) - 1
