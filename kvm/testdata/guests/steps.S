# Instructions of one byte each.
	.code64
	nop
	nop
	nop
	nop
	hlt
