"""The papers' studies, each with a figure drawn by matplotlib."""

from boardgame_sae.launch import needs

with needs("report", "a study's figure"):
    import matplotlib as matplotlib  # here, before any module of this folder imports it
