"""A look at the traces of one machine (`make observe`): an OTLP receiver and a page. For development only."""
