"""AutoRec network and the engines that train it."""
