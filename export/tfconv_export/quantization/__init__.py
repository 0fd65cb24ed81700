"""Beyond the converter: layers in float, errors by layer, even channels."""
