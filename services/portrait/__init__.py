"""Who the customer is: dwell, anchors, tags, audiences, computed from signalling and the operator's records."""
