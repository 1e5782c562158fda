/* What a loader looks for: the version of the entry, the ABI, the version of the
 * interface. Each but the first may be missing. */

#define NOTE_HERMIT 0x5a00
#define NOTE_UHYVE 0x5b00

	.section .note.hermit, "a", @note
	.balign 4
	.long 7, 1, NOTE_HERMIT
	.asciz "HERMIT"
	.balign 4
	.byte 4
	.balign 4
#ifndef LEGACY
	.long 4, 16, 1
	.asciz "GNU"
	.long 6, 0, 13, 2
#endif
#ifdef INTERFACE_NOTE
	.long 8, 4, NOTE_UHYVE
	.asciz "UHYVEIF"
	.byte 0, 0, 0, INTERFACE_NOTE /* big-endian */
#endif

	.section .note.GNU-stack, "", @progbits
