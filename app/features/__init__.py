"""What a frozen part of a network says of images: computed once, kept, read again."""
