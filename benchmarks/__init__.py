"""What measures natkit against its peers; results/ keeps the figures."""
