/* Maps of u32 to u64: those of BPF, and in native code the plainest that do the same. */
#ifndef MAP_H
#define MAP_H

#ifdef __bpf__

#define HASH_MAP(name, entries)                        \
	struct {                                       \
		__uint(type, BPF_MAP_TYPE_HASH);       \
		__uint(max_entries, entries);          \
		__type(key, u32);                      \
		__type(value, u64);                    \
	} name SEC(".maps")

#define ARRAY_MAP(name, entries)                       \
	struct {                                       \
		__uint(type, BPF_MAP_TYPE_ARRAY);      \
		__uint(max_entries, entries);          \
		__type(key, u32);                      \
		__type(value, u64);                    \
	} name SEC(".maps")

#define hash_lookup(map, key) ((u64 *)bpf_map_lookup_elem(&map, key))
#define hash_insert(map, key, value) bpf_map_update_elem(&map, key, value, BPF_ANY)
#define hash_delete(map, key) bpf_map_delete_elem(&map, key)
#define array_lookup(map, key) ((u64 *)bpf_map_lookup_elem(&map, key))

#else

struct hash_slot {
	u32 key;
	u32 used;
	u64 value;
};

/* Open addressing with twice as many slots as entries, a power of two. */
#define HASH_MAP(name, entries) static struct hash_slot name[2 * (entries)]
#define ARRAY_MAP(name, entries) static u64 name[entries]

static u32 hash_home(u32 key, u32 mask)
{
	return ((key * 2654435769u) >> 16) & mask;
}

static u32 hash_find(const struct hash_slot *slots, u32 mask, u32 key)
{
	u32 at = hash_home(key, mask);

	while (slots[at].used && slots[at].key != key)
		at = (at + 1) & mask;
	return at;
}

static u64 *hash_get(struct hash_slot *slots, u32 mask, u32 key)
{
	u32 at = hash_find(slots, mask, key);

	return slots[at].used ? &slots[at].value : 0;
}

static void hash_put(struct hash_slot *slots, u32 mask, u32 key, u64 value)
{
	u32 at = hash_find(slots, mask, key);

	slots[at] = (struct hash_slot){ key, 1, value };
}

/* Moves up what would no longer be found behind the gap. */
static void hash_drop(struct hash_slot *slots, u32 mask, u32 key)
{
	u32 gap = hash_find(slots, mask, key), at = gap;

	if (!slots[gap].used)
		return;
	for (;;) {
		at = (at + 1) & mask;
		if (!slots[at].used)
			break;
		if (((at - hash_home(slots[at].key, mask)) & mask) >= ((at - gap) & mask)) {
			slots[gap] = slots[at];
			gap = at;
		}
	}
	slots[gap].used = 0;
}

#define hash_mask(map) (sizeof(map) / sizeof(map[0]) - 1)
#define hash_lookup(map, key) hash_get(map, hash_mask(map), *(key))
#define hash_insert(map, key, value) hash_put(map, hash_mask(map), *(key), *(value))
#define hash_delete(map, key) hash_drop(map, hash_mask(map), *(key))
#define array_lookup(map, key) (*(key) < sizeof(map) / sizeof(map[0]) ? &map[*(key)] : (u64 *)0)

#endif
#endif
