# Real mode: what processor 1 does.
	.code16
	mov	$0xaa, %al
	out	%al, $0x11
1:	jmp	1b
