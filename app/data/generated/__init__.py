"""Images made by formulas: fractals, contours, dead leaves, textures; as many as are wanted."""

from app.data.generated.images import KINDS, generate, generate_of_classes

__all__ = ["KINDS", "generate", "generate_of_classes"]
