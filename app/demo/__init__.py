"""A made-up installation, for trying the product out, for its screenshots and for its tests."""
