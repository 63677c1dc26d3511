"""What the front-line staff earn: rules as data, responsibility fields, an append-only ledger, each entry explained."""
