"""From a case in the patient to slices for a network, and back: one mapping, both directions."""
