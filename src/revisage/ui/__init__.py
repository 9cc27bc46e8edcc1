"""The page in the browser: restore a video without a terminal (Streamlit)."""
