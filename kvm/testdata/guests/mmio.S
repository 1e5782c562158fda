# Long mode: writes and reads of each size where there is no memory.
	.code64
	mov	$0x10000000, %ebx
	movb	$0x11, (%rbx)
	movw	$0x2222, 8(%rbx)
	movl	$0x33333333, 16(%rbx)
	mov	$0x4444444455555555, %rax
	mov	%rax, 24(%rbx)
	mov	(%rbx), %al
	mov	8(%rbx), %cx
	mov	16(%rbx), %esi
	mov	24(%rbx), %rdi
	hlt
