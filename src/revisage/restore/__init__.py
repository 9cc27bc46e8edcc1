"""FaceRestorer and Upscaler, and the engines that run them."""
