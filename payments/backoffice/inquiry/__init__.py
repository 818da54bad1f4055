"""A shopper asks: was I charged twice?"""
