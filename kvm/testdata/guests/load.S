# Long mode: one byte is read and one written where %rbx says.
	.code64
	mov	(%rbx), %al
	movb	$0x77, (%rbx)
	hlt
