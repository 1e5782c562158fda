# One exit after the other.
	.code64
1:	out	%eax, $0x10
	inc	%eax
	jmp	1b
