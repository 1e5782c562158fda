/* The entry and the thread-local segment. */

	.section .tdata, "awT", @progbits
	.balign 32
	.quad 0x0123456789abcdef
	.asciz "thread-local"
	.section .tbss, "awT", @nobits
	.balign 32
	.skip 40

	.text
	.globl _start
	.hidden _start
	.type _start, @function
/* All processors enter here, with RDI = boot information, RSI = their number and
 * RSP = the LOW end of one boot stack for all. Processor 0 goes on upon it. Until the
 * flags are saved, nothing that changes them is done. */
_start:
	mov %rax, entry_rax(%rip)
	mov %rbx, entry_rbx(%rip)
	lea (,%rsi,8), %rax
	lea (,%rax,8), %rax
	lea (,%rax,8), %rax
	lea (,%rax,8), %rax
	lea (,%rax,4), %rax /* 16384 each */
	lea stacks(%rip), %rbx
	lea 16384(%rbx,%rax), %rax
	xchg %rax, %rsp
	pushfq
	push %rax
	push %rcx
	push %rdx
	push %rsi
	push %rdi
	push %rbp
	push %r8
	push %r9
	push %r10
	push %r11
	push %r12
	push %r13
	push %r14
	push %r15
	mov %rsp, %rdi
	test %esi, %esi
	jnz 1f
	lea 0x7ff0(%rax), %rsp
1:	and $-16, %rsp
	cld
	xor %ebp, %ebp
	call enter
2:	hlt
	jmp 2b
	.size _start, . - _start

	.bss
	.balign 16
	.globl entry_rax, entry_rbx
	.hidden entry_rax, entry_rbx
entry_rax: .skip 8
entry_rbx: .skip 8
	.balign 4096
stacks: .skip 16 * 16384

	.section .note.GNU-stack, "", @progbits
