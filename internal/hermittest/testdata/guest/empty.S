/* The smallest guest: it ends with its first instruction, or writes a byte first. */

	.text
	.globl _start
	.hidden _start
_start:
#ifdef HELLO
	mov $0x1020, %edx
	mov $'!', %edi
	out %eax, %dx
#endif
	xor %edi, %edi
	mov $0x1010, %edx
	out %eax, %dx
1:	hlt
	jmp 1b

	.section .note.GNU-stack, "", @progbits
