# An exception; without an IDT that is a triple fault.
	.code64
	ud2
