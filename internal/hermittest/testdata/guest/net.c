/* A driver for a virtio network card on PCI (virtio 1.3 §4.1 and §5.1), without
 * interrupts, and just enough of Ethernet, ARP, IPv4 and UDP to answer. */
#include "calls.h"

enum { PCI_ADDRESS = 0xcf8, PCI_DATA = 0xcfc };
enum { CAP_COMMON = 1, CAP_NOTIFY = 2, CAP_DEVICE = 4 };
enum { ACKNOWLEDGE = 1, DRIVER = 2, DRIVER_OK = 4, FEATURES_OK = 8 };
enum { RX, TX, QUEUES, ENTRIES = 16, WRITABLE = 2 };

/* The common configuration. */
struct common {
	u32 device_feature_select, device_feature, driver_feature_select, driver_feature;
	u16 config_msix_vector, num_queues;
	u8 status, config_generation;
	u16 queue_select, queue_size, queue_msix_vector, queue_enable, queue_notify_off;
	u64 desc, driver, device;
} PACKED;

struct descriptor { u64 addr; u32 len; u16 flags, next; };
struct available { u16 flags, idx, ring[ENTRIES], event; };
struct used { u16 flags, idx; struct { u32 id, len; } ring[ENTRIES]; u16 event; };

static struct queue {
	struct descriptor desc[ENTRIES];
	struct available avail;
	struct used used __attribute__((aligned(4)));
	u16 seen;
	volatile u16 *notify;
	u8 buffer[ENTRIES][2048];
} queues[QUEUES] __attribute__((aligned(4096)));

static volatile struct common *common;
static volatile u8 *device_config, *notify_base;
static u32 notify_multiplier;

static u32 config32(u32 at) {
	out32(PCI_ADDRESS, 1u << 31 | (at & ~3u));
	return in32(PCI_DATA);
}

static u8 config8(u32 at) { return (u8)(config32(at) >> (at & 3) * 8); }

/* bar maps the part of a memory BAR that a capability is about, and returns where. */
static volatile u8 *bar(u32 n, u32 offset) {
	static u64 next = VIRTUAL;
	u64 pa = (config32(0x10 + 4 * n) & ~15u) | (u64)config32(0x14 + 4 * n) << 32;
	pa += offset;
	volatile u8 *p = at(next + pa % PAGE);
	for (u32 i = 0; i < 2; i++, next += PAGE)
		map(next, ((pa & ~(PAGE - 1)) + i * PAGE) | 3 | 1 << 4); /* not cached */
	return p;
}

static int find_card(void) {
	if (config32(0) == 0xffffffff)
		return 0;
	EQ(config32(0), 0x10411af4);
	EQ(config32(8) >> 24, 2); /* a network controller */
	EQ(config8(0x3d), 1);
	out32(PCI_ADDRESS, 1u << 31 | 4);
	out16(PCI_DATA, 6); /* memory space, bus master */
	for (u32 cap = config8(0x34), n = 0; cap && n < 16; cap = config8(cap + 1), n++) {
		if (config8(cap) != 9)
			continue;
		volatile u8 *p = bar(config8(cap + 4), config32(cap + 8));
		switch (config8(cap + 3)) {
		case CAP_COMMON:
			common = (volatile struct common *)p;
			break;
		case CAP_NOTIFY:
			notify_base = p;
			notify_multiplier = config32(cap + 16);
			break;
		case CAP_DEVICE:
			device_config = p;
		}
	}
	TRUE(common && notify_base && device_config);
	return failures == 0;
}

static void post(struct queue *q, u16 i, u32 len, u16 flags) {
	q->desc[i] = (struct descriptor){addr(q->buffer[i]), len, flags, 0};
	q->avail.ring[q->avail.idx % ENTRIES] = i;
	__atomic_store_n(&q->avail.idx, q->avail.idx + 1, __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static void set_up_queue(u16 n) {
	struct queue *q = &queues[n];
	common->queue_select = n;
	TRUE(common->queue_size >= ENTRIES);
	common->queue_size = ENTRIES;
	common->desc = addr(q->desc);
	common->driver = addr(&q->avail);
	common->device = addr(&q->used);
	q->notify = (volatile u16 *)(notify_base + common->queue_notify_off * notify_multiplier);
	common->queue_enable = 1;
	EQ(common->queue_enable, 1);
}

static int start_card(void) {
	common->status = 0;
	while (common->status)
		relax();
	common->status = ACKNOWLEDGE;
	common->status = ACKNOWLEDGE | DRIVER;
	common->device_feature_select = 1;
	TRUE(common->device_feature & 1); /* version 1 */
	common->device_feature_select = 0;
	TRUE(common->device_feature & 1 << 5); /* it has an address */
	common->driver_feature_select = 0;
	common->driver_feature = 1 << 5;
	common->driver_feature_select = 1;
	common->driver_feature = 1;
	common->status = ACKNOWLEDGE | DRIVER | FEATURES_OK;
	TRUE(common->status & FEATURES_OK);
	EQ(common->num_queues, QUEUES);
	for (u16 n = 0; n < QUEUES; n++)
		set_up_queue(n);
	common->status = ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK;
	EQ(common->status, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
	for (u16 i = 0; i < ENTRIES; i++)
		post(&queues[RX], i, sizeof queues[RX].buffer[i], WRITABLE);
	*queues[RX].notify = RX;
	return failures == 0;
}

enum { HEADER = 12, ETHERNET = 14, PORT = 9975 };
struct ethernet { u8 to[6], from[6]; u16 type; } PACKED;
struct arp { u16 hardware, protocol; u8 hlen, plen; u16 operation; u8 from_mac[6], from_ip[4], to_mac[6], to_ip[4]; } PACKED;
struct ip { u8 version, tos; u16 length, id, fragment; u8 ttl, protocol; u16 sum; u8 from[4], to[4]; } PACKED;
struct udp { u16 from, to, length, sum; } PACKED;

static u8 mac[6];
static const u8 address[4] = {10, 0, 5, 3};

static u16 swap(u16 v) { return (u16)(v << 8 | v >> 8); }

static void send(const u8 *frame, u32 len) {
	struct queue *q = &queues[TX];
	memset(q->buffer[0], 0, HEADER);
	memcpy(q->buffer[0] + HEADER, frame, len);
	u16 before = q->used.idx;
	post(q, 0, HEADER + len, 0);
	*q->notify = TX;
	while (__atomic_load_n(&q->used.idx, __ATOMIC_ACQUIRE) == before)
		relax();
}

static void turn_round(struct ethernet *e) {
	memcpy(e->to, e->from, 6);
	memcpy(e->from, mac, 6);
}

static void answer_arp(u8 *frame, struct arp *a) {
	if (a->operation != swap(1) || memcmp(a->to_ip, address, 4))
		return;
	turn_round((struct ethernet *)frame);
	a->operation = swap(2);
	memcpy(a->to_mac, a->from_mac, 6);
	memcpy(a->to_ip, a->from_ip, 4);
	memcpy(a->from_mac, mac, 6);
	memcpy(a->from_ip, address, 4);
	send(frame, ETHERNET + sizeof *a);
}

static u16 sum(const void *p, u32 n) {
	const u8 *b = p;
	u32 s = 0;
	for (u32 i = 0; i + 1 < n; i += 2)
		s += (u32)b[i] << 8 | b[i + 1];
	if (n & 1)
		s += (u32)b[n - 1] << 8;
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return (u16)s;
}

/* answer_udp sends a datagram back with its bytes in reverse, and says whether it was the
 * last, which is empty. */
static int answer_udp(u8 *frame, struct ip *ip, u32 len) {
	struct udp *u = (struct udp *)(ip + 1);
	u32 n = swap(ip->length);
	if (ip->version != 0x45 || ip->protocol != 17 || memcmp(ip->to, address, 4) || u->to != swap(PORT) || ETHERNET + n > len)
		return 0;
	EQ(sum(ip, sizeof *ip), 0xffff);
	/* The host has completed this one, as that was not left to us. */
	struct { u8 from[4], to[4], zero, protocol; u16 length; } PACKED pseudo = {{0}, {0}, 0, 17, u->length};
	memcpy(pseudo.from, ip->from, 8);
	u32 both = (u32)sum(&pseudo, sizeof pseudo) + sum(u, swap(u->length));
	if (u->sum)
		EQ((both & 0xffff) + (both >> 16), 0xffff);
	u8 *data = (u8 *)(u + 1);
	u32 size = swap(u->length) - (u32)sizeof *u;
	for (u32 i = 0; i < size / 2; i++) {
		u8 b = data[i];
		data[i] = data[size - 1 - i];
		data[size - 1 - i] = b;
	}
	turn_round((struct ethernet *)frame);
	memcpy(ip->to, ip->from, 4);
	memcpy(ip->from, address, 4);
	ip->sum = 0;
	ip->sum = (u16)~swap(sum(ip, sizeof *ip));
	u->to = u->from;
	u->from = swap(PORT);
	u->sum = 0;
	send(frame, ETHERNET + n);
	return size == 0;
}

static void network(struct words *args) {
	if (!find_card() || !start_card()) {
		fail(__FILE__, __LINE__, "a network card", 0, 1);
		return;
	}
	for (u32 i = 0; i < 6; i++)
		mac[i] = device_config[i];
	(void)args;
	print("ready\n");
	struct queue *q = &queues[RX];
	for (int last = 0; !last && failures == 0;) {
		while (__atomic_load_n(&q->used.idx, __ATOMIC_ACQUIRE) == q->seen)
			relax();
		u16 i = (u16)q->used.ring[q->seen % ENTRIES].id;
		u32 len = q->used.ring[q->seen++ % ENTRIES].len;
		if (i >= ENTRIES || len > sizeof q->buffer[i]) {
			fail(__FILE__, __LINE__, "a used element", i, len);
			return;
		}
		u8 *frame = q->buffer[i] + HEADER;
		u16 type = ((struct ethernet *)frame)->type;
		if (len >= HEADER + ETHERNET + sizeof(struct arp) && type == swap(0x0806))
			answer_arp(frame, (struct arp *)(frame + ETHERNET));
		else if (len >= HEADER + ETHERNET + sizeof(struct ip) + sizeof(struct udp) && type == swap(0x0800))
			last = answer_udp(frame, (struct ip *)(frame + ETHERNET), len - HEADER);
		post(q, i, sizeof q->buffer[i], WRITABLE);
		*q->notify = RX;
	}
}

const struct program net_programs[] = {
	{"network", network, 0},
	{0},
};
