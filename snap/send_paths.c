/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An overlay over the old tree's names. A slot is a name in a directory, an entry is what may lie
 * there. Both come into being when a command names them: an entry is either made by the stream, or
 * it is taken to stand in the old tree where it is looked up for the first time, its origin. A slot
 * stays when its entry leaves, empty: nothing of the old tree is found there any more.
 */
#include "snap/send_paths.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "snap/base/err.h"

/* So many ranges of a file are kept apart; beyond that they become one, from first to last. */
#define RANGES_MAX 256
#define FIRST_BUCKETS 1024

struct slot {
	struct entry *parent;
	struct entry *here; /* NULL: empty */
	struct slot *in_bucket, *next;
	size_t hash;
	char name[];
};

struct inode {
	unsigned touched;
	struct send_range *ranges;
	size_t n_ranges, room;
	struct entry *names; /* those the stream spoke of, by next_name */
	struct inode *next;
};

struct entry {
	struct slot *at;     /* NULL: removed (and the tree itself) */
	struct slot *origin; /* where it stood in the old tree; NULL: nowhere */
	struct inode *inode; /* made when needed */
	size_t n_children;   /* filled slots below it */
	struct entry *next_name, *next;
	struct entry *was; /* a removed name of the same inode: together they are a rename */
	bool taken;	   /* it is some other entry's `was` */
};

struct send_paths {
	struct slot **buckets;
	size_t n_buckets, n_slots;
	struct slot *slots;
	struct entry *entries, *root;
	struct inode *inodes;
	bool has_old; /* the stream is incremental */
};

static int bad(struct err *err, const char *path, const char *what)
{
	return err_set(err, EBADMSG, "bad_stream", path, "bad send stream: %s", what);
}

static struct entry *entry_new(struct send_paths *p)
{
	struct entry *e = calloc(1, sizeof(*e));

	if (e) {
		e->next = p->entries;
		p->entries = e;
	}
	return e;
}

static struct inode *inode_of(struct send_paths *p, struct entry *e)
{
	if (!e->inode) {
		e->inode = calloc(1, sizeof(*e->inode));
		if (!e->inode)
			return NULL;
		e->inode->names = e;
		e->inode->next = p->inodes;
		p->inodes = e->inode;
	}
	return e->inode;
}

int send_paths_new(struct send_paths **out)
{
	struct send_paths *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->n_buckets = FIRST_BUCKETS;
	p->buckets = calloc(p->n_buckets, sizeof(*p->buckets));
	p->root = entry_new(p);
	if (!p->buckets || !p->root) {
		send_paths_free(&p);
		return -ENOMEM;
	}
	*out = p;
	return 0;
}

void send_paths_free(struct send_paths **pp)
{
	struct send_paths *p = *pp;

	if (!p)
		return;
	for (struct slot *s = p->slots, *next; s; s = next) {
		next = s->next;
		free(s);
	}
	for (struct entry *e = p->entries, *next; e; e = next) {
		next = e->next;
		free(e);
	}
	for (struct inode *i = p->inodes, *next; i; i = next) {
		next = i->next;
		free(i->ranges);
		free(i);
	}
	free(p->buckets);
	free(p);
	*pp = NULL;
}

/* FNV-1a over the name, with the directory's identity mixed in. */
static size_t hash_of(const struct entry *parent, const char *name, size_t len)
{
	uint64_t h = 0xcbf29ce484222325ULL ^ (uintptr_t)parent >> 4;

	for (size_t i = 0; i < len; i++)
		h = (h ^ (uint8_t)name[i]) * 0x100000001b3ULL;
	return (size_t)(h ^ h >> 32);
}

static struct slot *slot_find(const struct send_paths *p, const struct entry *parent,
	const char *name, size_t len)
{
	size_t hash = hash_of(parent, name, len);
	struct slot *s = p->buckets[hash & (p->n_buckets - 1)];

	while (s && (s->parent != parent || strncmp(s->name, name, len) != 0 || s->name[len]))
		s = s->in_bucket;
	return s;
}

static int grow(struct send_paths *p)
{
	size_t n = p->n_buckets * 2;
	struct slot **buckets = calloc(n, sizeof(*buckets));

	if (!buckets)
		return -ENOMEM;
	for (struct slot *s = p->slots; s; s = s->next) {
		s->in_bucket = buckets[s->hash & (n - 1)];
		buckets[s->hash & (n - 1)] = s;
	}
	free(p->buckets);
	p->buckets = buckets;
	p->n_buckets = n;
	return 0;
}

static struct slot *slot_new(struct send_paths *p, struct entry *parent, const char *name,
	size_t len)
{
	struct slot *s, **bucket;

	if (p->n_slots >= p->n_buckets && grow(p) < 0)
		return NULL;
	s = calloc(1, sizeof(*s) + len + 1);
	if (!s)
		return NULL;
	memcpy(s->name, name, len);
	s->parent = parent;
	s->hash = hash_of(parent, name, len);
	bucket = &p->buckets[s->hash & (p->n_buckets - 1)];
	s->in_bucket = *bucket;
	*bucket = s;
	s->next = p->slots;
	p->slots = s;
	p->n_slots++;
	return s;
}

static void put(struct slot *s, struct entry *e)
{
	s->here = e;
	e->at = s;
	s->parent->n_children++;
}

static void take_away(struct entry *e)
{
	e->at->here = NULL;
	e->at->parent->n_children--;
	e->at = NULL;
}

/* Could the old tree have something below this entry? */
static bool is_old(const struct send_paths *p, const struct entry *e)
{
	return p->has_old && (e == p->root || e->origin);
}

/* The child of this name; from the old tree unless the slot is known. *out is NULL where nothing
 * can be. */
static int child(struct send_paths *p, struct entry *parent, const char *name, size_t len,
	struct entry **out)
{
	struct slot *s = slot_find(p, parent, name, len);

	*out = s ? s->here : NULL;
	if (s || !is_old(p, parent))
		return 0;
	s = slot_new(p, parent, name, len);
	*out = s ? entry_new(p) : NULL;
	if (!*out)
		return -ENOMEM;
	(*out)->origin = s;
	put(s, *out);
	return 0;
}

static int lookup(struct send_paths *p, const char *path, struct entry **out, struct err *err)
{
	struct entry *e = p->root;
	const char *s = path;

	while (*s) {
		size_t len = strcspn(s, "/");
		int r = child(p, e, s, len, &e);

		if (r < 0)
			return err_sys(err, ENOMEM, "read send stream", NULL);
		if (!e)
			return bad(err, path, "it names what is not there");
		s += len + (s[len] == '/');
	}
	*out = e;
	return 0;
}

/* The empty slot `path` stands for. That nothing of the old tree is there, the stream vouches for:
 * it moves such a thing away first. */
static int vacant(struct send_paths *p, const char *path, struct slot **out, struct err *err)
{
	const char *name = strrchr(path, '/');
	char dir[PATH_MAX];
	struct entry *parent = NULL;
	struct slot *s;
	int r;

	if (!*path)
		return bad(err, path, "it makes the tree itself");
	memcpy(dir, path, name ? (size_t)(name - path) : 0);
	dir[name ? name - path : 0] = '\0';
	name = name ? name + 1 : path;
	r = lookup(p, dir, &parent, err);
	if (r < 0)
		return r;
	s = slot_find(p, parent, name, strlen(name));
	if (s && s->here)
		return bad(err, path, "it makes a name that is there");
	if (!s)
		s = slot_new(p, parent, name, strlen(name));
	if (!s)
		return err_sys(err, ENOMEM, "read send stream", NULL);
	*out = s;
	return 0;
}

static int make(struct send_paths *p, const struct send_cmd *cmd, struct err *err)
{
	struct slot *s = NULL;
	struct entry *e;
	int r = vacant(p, cmd->path, &s, err);

	if (r < 0)
		return r;
	e = entry_new(p);
	if (!e)
		return err_sys(err, ENOMEM, "read send stream", NULL);
	put(s, e);
	return 0;
}

static int make_link(struct send_paths *p, const struct send_cmd *cmd, struct err *err)
{
	struct entry *old = NULL, *e;
	struct inode *inode;
	struct slot *s;
	int r = lookup(p, cmd->path_link, &old, err);

	if (r == 0 && old == p->root)
		r = bad(err, cmd->path_link, "it links the tree itself");
	if (r == 0)
		r = make(p, cmd, err);
	if (r < 0)
		return r;
	e = p->entries; /* the one just made */
	inode = inode_of(p, old);
	s = e->at;
	if (!inode || !s)
		return err_sys(err, ENOMEM, "read send stream", NULL);
	e->inode = inode;
	e->next_name = inode->names;
	inode->names = e;
	return 0;
}

static bool is_below(const struct entry *e, const struct entry *top)
{
	while (e != top && e->at)
		e = e->at->parent;
	return e == top;
}

static int move(struct send_paths *p, const struct send_cmd *cmd, struct err *err)
{
	struct entry *e = NULL;
	struct slot *s = NULL;
	int r = lookup(p, cmd->path, &e, err);

	if (r == 0 && e == p->root)
		r = bad(err, cmd->path, "it moves the tree itself");
	if (r == 0)
		r = vacant(p, cmd->path_to, &s, err);
	if (r == 0 && is_below(s->parent, e))
		r = bad(err, cmd->path, "it moves a directory below itself");
	if (r < 0)
		return r;
	take_away(e);
	put(s, e);
	return 0;
}

static int drop(struct send_paths *p, const struct send_cmd *cmd, struct err *err)
{
	struct entry *e = NULL;
	int r = lookup(p, cmd->path, &e, err);

	if (r < 0)
		return r;
	if (e == p->root || e->n_children)
		return bad(err, cmd->path, "it removes a directory that is not empty");
	take_away(e);
	return 0;
}

static void merge_all(struct inode *i)
{
	uint64_t first = i->ranges[0].offset, end = 0;

	for (size_t n = 0; n < i->n_ranges; n++) {
		const struct send_range *r = &i->ranges[n];

		first = r->offset < first ? r->offset : first;
		end = r->offset + r->len > end ? r->offset + r->len : end;
	}
	i->ranges[0] = (struct send_range){first, end - first};
	i->n_ranges = 1;
}

static int add_range(struct inode *i, uint64_t offset, uint64_t len)
{
	struct send_range *last = i->n_ranges ? &i->ranges[i->n_ranges - 1] : NULL;

	if (last && offset >= last->offset && offset <= last->offset + last->len) {
		if (offset + len > last->offset + last->len)
			last->len = offset + len - last->offset;
		return 0;
	}
	if (i->n_ranges == RANGES_MAX)
		merge_all(i);
	if (i->n_ranges == i->room) {
		size_t room = i->room ? i->room * 2 : 4;
		struct send_range *ranges = reallocarray(i->ranges, room, sizeof(*ranges));

		if (!ranges)
			return -ENOMEM;
		i->ranges = ranges;
		i->room = room;
	}
	i->ranges[i->n_ranges++] = (struct send_range){offset, len};
	return 0;
}

static int touch(struct send_paths *p, const struct send_cmd *cmd, unsigned how, struct err *err)
{
	struct entry *e = NULL;
	struct inode *inode;
	int r = lookup(p, cmd->path, &e, err);

	if (r < 0)
		return r;
	inode = inode_of(p, e);
	if (!inode)
		return err_sys(err, ENOMEM, "read send stream", NULL);
	inode->touched |= how;
	if (how & SEND_TOUCH_DATA && add_range(inode, cmd->offset, cmd->size) < 0)
		return err_sys(err, ENOMEM, "read send stream", NULL);
	return 0;
}

int send_paths_apply(const struct send_cmd *cmd, void *arg, struct err *err)
{
	struct send_paths *p = arg;

	switch (cmd->type) {
	case SEND_SNAPSHOT:
		p->has_old = true;
		return 0;
	case SEND_SUBVOL:
	case SEND_END:
		return 0;
	case SEND_MKFILE:
	case SEND_MKDIR:
	case SEND_MKNOD:
	case SEND_MKFIFO:
	case SEND_MKSOCK:
	case SEND_SYMLINK:
		return make(p, cmd, err);
	case SEND_RENAME:
		return move(p, cmd, err);
	case SEND_LINK:
		return make_link(p, cmd, err);
	case SEND_UNLINK:
	case SEND_RMDIR:
		return drop(p, cmd, err);
	case SEND_SET_XATTR:
	case SEND_REMOVE_XATTR:
		return touch(p, cmd, SEND_TOUCH_XATTR, err);
	case SEND_WRITE:
	case SEND_CLONE:
	case SEND_UPDATE_EXTENT:
	case SEND_FALLOCATE:
	case SEND_ENCODED_WRITE:
		return touch(p, cmd, SEND_TOUCH_DATA | SEND_TOUCH_ATTR, err);
	case SEND_TRUNCATE:
	case SEND_CHMOD:
	case SEND_CHOWN:
	case SEND_UTIMES:
	case SEND_FILEATTR:
	case SEND_ENABLE_VERITY:
		return touch(p, cmd, SEND_TOUCH_ATTR, err);
	}
	return bad(err, NULL, "an unknown command");
}

/* The end: from entries to a sorted list of changes. */

struct changes {
	struct send_change *items;
	size_t n, room;
};

static void changes_release(struct changes *c)
{
	for (size_t i = 0; i < c->n; i++) {
		free((void *)(uintptr_t)c->items[i].path);
		free((void *)(uintptr_t)c->items[i].from);
	}
	free(c->items);
}

/* The path that ends in this slot, in the new tree or in the old one. malloc'd. */
static int path_of(const struct send_paths *p, const struct slot *last, bool old, const char **out)
{
	char text[PATH_MAX], *s = text + sizeof(text) - 1;

	*s = '\0';
	for (const struct slot *slot = last; slot;) {
		size_t len = strlen(slot->name);

		if ((size_t)(s - text) < len + 1)
			return -ENAMETOOLONG;
		if (*s)
			*--s = '/';
		s -= len;
		memcpy(s, slot->name, len);
		slot = slot->parent == p->root ? NULL :
			old ? slot->parent->origin : slot->parent->at;
	}
	*out = strdup(s);
	return *out ? 0 : -ENOMEM;
}

static int add_change(struct changes *c, const struct send_paths *p, enum send_change_kind kind,
	const struct slot *from, const struct slot *to, const struct inode *inode)
{
	struct send_change *item;
	int r = 0;

	if (c->n == c->room) {
		size_t room = c->room ? c->room * 2 : 64;
		struct send_change *items = reallocarray(c->items, room, sizeof(*items));

		if (!items)
			return -ENOMEM;
		c->items = items;
		c->room = room;
	}
	item = &c->items[c->n++];
	*item = (struct send_change){.kind = kind};
	if (inode) {
		item->touched = inode->touched;
		item->ranges = inode->ranges;
		item->n_ranges = inode->n_ranges;
	}
	if (kind != SEND_PATH_ADDED)
		r = path_of(p, from, true, &item->from);
	if (r == 0 && kind != SEND_PATH_REMOVED)
		r = path_of(p, to, false, &item->path);
	return r;
}

/* A new name and a removed one of the same inode are a rename: so the stream moves files. */
static void pair_names(const struct inode *inode)
{
	struct entry *gone = inode->names;

	for (struct entry *e = inode->names; e; e = e->next_name) {
		if (!e->at || e->origin)
			continue;
		while (gone && (gone->at || !gone->origin))
			gone = gone->next_name;
		if (!gone)
			return;
		e->was = gone;
		gone->taken = true;
		gone = gone->next_name;
	}
}

static int collect_one(const struct send_paths *p, struct changes *c, const struct entry *e)
{
	const struct slot *from = e->was ? e->was->origin : e->origin;
	bool touched = e->inode && e->inode->touched;

	if (e == p->root)
		return touched ? add_change(c, p, SEND_PATH_KEPT, NULL, NULL, e->inode) : 0;
	if (!e->at)
		return e->origin && !e->taken ?
			add_change(c, p, SEND_PATH_REMOVED, from, NULL, NULL) : 0;
	if (!from)
		return add_change(c, p, SEND_PATH_ADDED, NULL, e->at, NULL);
	if (from != e->at)
		return add_change(c, p, SEND_PATH_RENAMED, from, e->at, e->inode);
	return touched ? add_change(c, p, SEND_PATH_KEPT, from, e->at, e->inode) : 0;
}

/* The end of a path before '/', '/' before every other byte. */
static int rank(char c)
{
	return c == '\0' ? 0 : c == '/' ? 1 : (unsigned char)c + 1;
}

int send_path_cmp(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return rank(*a) - rank(*b);
}

static const char *key_of(const struct send_change *c)
{
	return c->path ? c->path : c->from;
}

static int compare(const void *x, const void *y)
{
	const struct send_change *a = x, *b = y;
	int r = send_path_cmp(key_of(a), key_of(b));

	return r ? r : (int)a->kind - (int)b->kind;
}

/* Sorted: a name that was removed and made again stands twice, one behind the other. */
static int emit(const struct changes *c, send_change_fn *fn, void *arg)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < c->n; i++) {
		struct send_change one = c->items[i];

		if (one.kind == SEND_PATH_REMOVED && i + 1 < c->n &&
			c->items[i + 1].kind == SEND_PATH_ADDED &&
			strcmp(one.from, c->items[i + 1].path) == 0) {
			one.kind = SEND_PATH_REPLACED;
			one.path = c->items[++i].path;
		}
		r = fn(&one, arg);
	}
	return r;
}

int send_paths_finish(struct send_paths *p, send_change_fn *fn, void *arg, struct err *err)
{
	__attribute__((cleanup(changes_release))) struct changes c = {0};
	int r = 0;

	for (const struct inode *i = p->inodes; i; i = i->next)
		pair_names(i);
	for (const struct entry *e = p->entries; r == 0 && e; e = e->next)
		r = collect_one(p, &c, e);
	if (r < 0)
		return err_sys(err, -r, "list changes", NULL);
	if (c.n)
		qsort(c.items, c.n, sizeof(*c.items), compare);
	return emit(&c, fn, arg);
}
