# Real mode: waits for interrupts. The handlers, 16 bytes apart, tell their number.
	.code16
	sti
1:	hlt
	jmp	1b
	.balign	16, 0x90
	mov	$0x30, %al
	out	%al, $0x10
	iret
	.balign	16, 0x90
	mov	$0x40, %al
	out	%al, $0x10
	iret
	.balign	16, 0x90
	mov	$0x50, %al
	out	%al, $0x10
	iret
