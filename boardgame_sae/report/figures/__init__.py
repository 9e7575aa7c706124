"""The figures of reports, drawn by matplotlib."""

from boardgame_sae.launch import needs

with needs("report", "a figure"):
    import matplotlib as matplotlib  # here, before any module of this folder imports it
