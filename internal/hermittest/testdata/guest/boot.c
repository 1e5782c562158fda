/* The device tree that the boot information points to. */
#include "guest.h"

struct tree tree;
struct words kernel_args, app_args;

static u32 be32(const void *p) { return __builtin_bswap32(*(const u32 *)p); }
static u64 be64(const void *p) { return __builtin_bswap64(*(const u64 *)p); }

enum { BEGIN_NODE = 1, END_NODE, PROP, NOP, END_TREE = 9 };

/* next takes a word of a POSIX shell off a text, in its own place. */
static char *next_word(char **text) {
	char *in = *text, *out, *word, quote = 0;
	while (*in == ' ' || *in == '\n' || *in == '\t')
		in++;
	if (!*in)
		return 0;
	for (word = out = in; *in; in++) {
		if (quote == '\'' ? *in == quote : quote ? *in == quote : (*in == '\'' || *in == '"'))
			quote = quote ? 0 : *in;
		else if (*in == '\\' && quote != '\'' && in[1])
			*out++ = *++in;
		else if (!quote && (*in == ' ' || *in == '\n' || *in == '\t'))
			break;
		else
			*out++ = *in;
	}
	*text = *in ? in + 1 : in;
	*out = 0;
	return word;
}

static char text[64 << 10];

static void split_bootargs(void) {
	struct words *w = &kernel_args;
	if (!tree.bootargs || strlen(tree.bootargs) >= sizeof text)
		return;
	copy(text, tree.bootargs);
	char *rest = text;
	for (char *word; (word = next_word(&rest));) {
		if (w == &kernel_args && equal(word, "--"))
			w = &app_args;
		else if (w->n < (int)COUNT(w->v))
			w->v[w->n++] = word;
	}
}

const char *option(struct words *w, const char *key) {
	for (int i = 0; i < w->n; i++)
		if (begins(w->v[i], key) && w->v[i][strlen(key)] == '=')
			return w->v[i] + strlen(key) + 1;
	return 0;
}

static void property(const char *node, int depth, const char *name, char *value, u32 size) {
	if (depth == 1 && equal(name, "compatible"))
		tree.compatible = value;
	if (begins(node, "memory@") && equal(name, "reg") && size == 16)
		tree.ram_start = be64(value), tree.ram_size = be64(value + 8);
	if (equal(node, "hermit,tsc") && equal(name, "khz"))
		tree.tsc_khz = be32(value);
	if (equal(node, "uhyve,mounts") && equal(name, "mounts"))
		tree.mounts = value, tree.mounts_size = size;
	if (equal(node, "chosen") && equal(name, "bootargs"))
		tree.bootargs = value;
	if (equal(node, "chosen") && equal(name, "linux,initrd-start"))
		tree.initrd_start = be64(value);
	if (equal(node, "chosen") && equal(name, "linux,initrd-end"))
		tree.initrd_end = be64(value);
}

void read_tree(void) {
	if (!boot->fdt)
		return;
	u8 *fdt = at(boot->fdt);
	if (be32(fdt) != 0xd00dfeed) {
		fail(__FILE__, __LINE__, "magic of the device tree", be32(fdt), 0xd00dfeed);
		return;
	}
	char *p = (char *)fdt + be32(fdt + 8), *strings = (char *)fdt + be32(fdt + 12);
	char *node = "";
	for (int depth = 0;;) {
		u32 token = be32(p);
		p += 4;
		switch (token) {
		case BEGIN_NODE:
			node = p;
			p += (strlen(p) + 4) & ~3ull;
			depth++;
			tree.cpus += begins(node, "cpu@");
			break;
		case END_NODE:
			depth--;
			break;
		case PROP:
			property(node, depth, strings + be32(p + 4), p + 8, be32(p));
			p += 8 + ((be32(p) + 3) & ~3u);
			break;
		case NOP:
			break;
		default:
			EQ(token, END_TREE);
			split_bootargs();
			return;
		}
	}
}
