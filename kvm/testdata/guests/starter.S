# Long mode: INIT and SIPI from processor 0 to processor 1, which starts at 0x8000.
	.code64
	mov	$0xfee00000, %ebx
	movl	$0x1ff, 0xf0(%rbx)
	movl	$0x01000000, 0x310(%rbx)
	movl	$0x4500, 0x300(%rbx)
	movl	$0x4608, 0x300(%rbx)
	out	%al, $0x10
1:	jmp	1b
