# Never ends by itself.
	.code64
1:	jmp	1b
