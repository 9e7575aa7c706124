from boardgame_sae.saes.load import load_sae as load_sae
from boardgame_sae.saes.registry import architectures as architectures
from boardgame_sae.saes.registry import make_sae as make_sae
from boardgame_sae.saes.sae import SAE as SAE
