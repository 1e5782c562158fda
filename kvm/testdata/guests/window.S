# Real mode: takes no interrupts until it has said something.
	.code16
	cli
	out	%al, $0x10
	sti
	nop
1:	jmp	1b
	.balign	16, 0x90
	mov	$0x30, %al
	out	%al, $0x10
	hlt
