/* Loops over rows and cells that would take several passes in numpy. Python calls them through loops.py, and does
 * without them where they could not be compiled.
 *
 * Plain C without Python's headers. Rename a function when its arguments change: an older build may be found. */

#include <stdint.h>
#include <string.h>

enum { OTHER, USER, ITEM, RATING, TIMESTAMP }; /* roles of a field, as in ingest/plain.py */

enum { ID_DIGITS = 9, RATING_DIGITS = 15, TIMESTAMP_DIGITS = 18 };

/* Up to 15 digits and these are exact as doubles, so that their quotient is the double nearest to the decimal number
 * (Clinger 1990), which is what a parser of numbers gives. */
static const double POWERS_OF_TEN[RATING_DIGITS + 1] = {
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
};

/* Where the digits at `text` end; `number` gains them behind its own (and is nonsense after more than 18). */
static const uint8_t *read_digits(const uint8_t *text, uint64_t *number) {
    for (unsigned digit; (digit = (unsigned)*text - '0') < 10; text++) {
        *number = 10 * *number + digit;
    }
    return text;
}

/* Where the id ends; NULL if it is no number, or not the text that the number prints as, as "007" is. */
static const uint8_t *read_id(const uint8_t *text, int32_t *id) {
    uint64_t number = 0;
    const uint8_t *end = read_digits(text, &number);
    if (end == text || end - text > ID_DIGITS || (*text == '0' && end - text > 1)) {
        return 0;
    }
    *id = (int32_t)number;
    return end;
}

/* Where the rating ends; NULL if it is not digits, perhaps with a minus before and a point between them. */
static const uint8_t *read_rating(const uint8_t *text, float *rating) {
    uint64_t number = 0;
    const int is_negative = *text == '-';
    const uint8_t *first = text + is_negative;
    const uint8_t *end = read_digits(first, &number);
    int64_t n_digits = end - first, n_decimals = 0;
    if (n_digits && *end == '.') {
        const uint8_t *decimals = end + 1;
        end = read_digits(decimals, &number);
        n_decimals = end - decimals;
        n_digits = n_decimals ? n_digits + n_decimals : 0;
    }
    if (n_digits < 1 || n_digits > RATING_DIGITS) {
        return 0;
    }
    const double value = (double)number / POWERS_OF_TEN[n_decimals];
    *rating = (float)(is_negative ? -value : value);
    return end;
}

static const uint8_t *read_timestamp(const uint8_t *text, int64_t *timestamp) {
    uint64_t number = 0;
    const uint8_t *end = read_digits(text, &number);
    if (end == text || end - text > TIMESTAMP_DIGITS) {
        return 0;
    }
    *timestamp = (int64_t)number;
    return end;
}

/* Reads `length` bytes of whole rows of `n_fields` fields, whose roles are `roles`, into columns with room for `most`
 * rows. Returns how many rows there are, or -1 if one of them is not plain.
 *
 * The text must be followed by a zero byte, as Python's bytes are: it is no digit, so that no number is read beyond the
 * end. */
int64_t autorec_read_rows(const uint8_t *text, int64_t length, uint8_t delimiter, int64_t n_fields,
                          const int32_t *roles, int64_t most, int32_t *users, int32_t *items, float *ratings,
                          int64_t *timestamps) {
    const uint8_t *const end = text + length;
    int64_t row = 0;
    for (; text < end; row++) {
        if (row == most) {
            return -1;
        }
        for (int64_t field = 0; field < n_fields; field++) {
            switch (roles[field]) {
            case USER:
                text = read_id(text, users + row);
                break;
            case ITEM:
                text = read_id(text, items + row);
                break;
            case RATING:
                text = read_rating(text, ratings + row);
                break;
            case TIMESTAMP:
                text = read_timestamp(text, timestamps + row);
                break;
            default:
                while (text < end && *text != delimiter && *text != '\n' && *text != '\r') {
                    text++;
                }
            }
            if (!text) {
                return -1;
            }
            if (field < n_fields - 1) {
                if (text >= end || *text != delimiter) {
                    return -1;
                }
                text++;
            }
        }
        if (text < end && *text == '\r') {
            text++;
            if (text >= end) {
                return -1;
            }
        }
        if (text < end && *text++ != '\n') {
            return -1;
        }
    }
    return row;
}

/* The index of each of `n_rows` numbers, all of which have a place in `index_of_number`; it holds -1 for those that have
 * no index yet. They get the next ones, from `n_ids` on, in order, and go to `unseen`. Returns how many these are. */
int64_t autorec_number_ids(const int32_t *numbers, int64_t n_rows, int32_t *index_of_number, int32_t n_ids,
                           int32_t *indexes, int32_t *unseen) {
    int64_t n_unseen = 0;
    for (int64_t row = 0; row < n_rows; row++) {
        int32_t *index = index_of_number + numbers[row];
        if (*index < 0) {
            *index = n_ids++;
            unseen[n_unseen++] = numbers[row];
        }
        indexes[row] = *index;
    }
    return n_unseen;
}

int64_t autorec_count_values(const int32_t *values, int64_t n_rows, int64_t *counts) {
    for (int64_t row = 0; row < n_rows; row++) {
        counts[values[row]]++;
    }
    return 0;
}

enum { FEW_CELLS = 48 }; /* that are sorted faster without counting up to 256 values */

/* Sorts `n_cells` keys by the `n_bytes` bytes from the fourth on, stably: few by insertion, which finds equal items in the
 * order of their places, more by counting sorts from the lowest byte up. Returns where they are, `keys` or `scratch`. */
static uint64_t *sort_keys(uint64_t *keys, uint64_t *scratch, int64_t n_cells, int n_bytes) {
    if (n_cells <= FEW_CELLS) {
        for (int64_t cell = 1; cell < n_cells; cell++) {
            const uint64_t key = keys[cell];
            int64_t place = cell;
            for (; place > 0 && keys[place - 1] > key; place--) {
                keys[place] = keys[place - 1];
            }
            keys[place] = key;
        }
        return keys;
    }
    for (int shift = 32; shift < 32 + 8 * n_bytes; shift += 8) {
        int64_t places[256] = {0}, place = 0;
        for (int64_t cell = 0; cell < n_cells; cell++) {
            places[keys[cell] >> shift & 255]++;
        }
        for (int value = 0; value < 256; value++) {
            const int64_t count = places[value];
            places[value] = place;
            place += count;
        }
        for (int64_t cell = 0; cell < n_cells; cell++) {
            scratch[places[keys[cell] >> shift & 255]++] = keys[cell];
        }
        uint64_t *sorted = scratch;
        scratch = keys;
        keys = sorted;
    }
    return keys;
}

/* Brings `n_cells` values of `size` bytes, 4 or 8, into the order of `sorted`, which says in its lower halves where they
 * come from. `spare` has room for them. */
static void reorder(void *values, int64_t size, const uint64_t *sorted, int64_t n_cells, void *spare) {
    memcpy(spare, values, (size_t)(size * n_cells));
    if (size == 4) {
        for (int64_t cell = 0; cell < n_cells; cell++) {
            ((uint32_t *)values)[cell] = ((const uint32_t *)spare)[(uint32_t)sorted[cell]];
        }
    } else {
        for (int64_t cell = 0; cell < n_cells; cell++) {
            ((uint64_t *)values)[cell] = ((const uint64_t *)spare)[(uint32_t)sorted[cell]];
        }
    }
}

/* Sorts the cells of each row by item, equal ones as they are, in place. Row r has the cells `pointers[r]` to
 * `pointers[r + 1]`, of which there are `items` and `n_columns` other columns, of values of `sizes` bytes, 4 or 8.
 * Items have `n_bytes` bytes that are not always 0; `scratch` has room for three times the cells of the longest row. */
int64_t autorec_sort_rows(const int64_t *pointers, int64_t n_rows, int32_t *items, int64_t n_bytes, int64_t n_columns,
                          uint8_t *const *columns, const int64_t *sizes, uint64_t *scratch) {
    for (int64_t row = 0; row < n_rows; row++) {
        const int64_t first = pointers[row], n_cells = pointers[row + 1] - first;
        int is_rising = 1;
        for (int64_t cell = 0; cell < n_cells; cell++) {
            scratch[cell] = (uint64_t)items[first + cell] << 32 | (uint64_t)cell;
            is_rising &= cell == 0 || items[first + cell - 1] <= items[first + cell];
        }
        if (is_rising) {
            continue;
        }
        const uint64_t *sorted = sort_keys(scratch, scratch + n_cells, n_cells, (int)n_bytes);
        for (int64_t cell = 0; cell < n_cells; cell++) {
            items[first + cell] = (int32_t)(sorted[cell] >> 32);
        }
        for (int64_t column = 0; column < n_columns; column++) {
            const int64_t size = sizes[column];
            reorder(columns[column] + first * size, size, sorted, n_cells, scratch + 2 * n_cells);
        }
    }
    return 0;
}

/* Deals the cells of a matrix to the parts 0, 1, ... `n_parts` - 1 that `labels` names: those of part p go to
 * `part_indices[p]` and `part_data[p]`, of which the first part's may be `indices` and `data` themselves, and
 * `part_pointers[p]` says where its rows begin. Cells with other labels go nowhere. */
int64_t autorec_deal_cells(const int64_t *pointers, int64_t n_rows, const uint8_t *labels, const int32_t *indices,
                           const float *data, int64_t n_parts, int32_t *const *part_indices,
                           float *const *part_data, int64_t *const *part_pointers) {
    int64_t n_taken[256] = {0};
    for (int64_t row = 0; row < n_rows; row++) {
        for (int64_t cell = pointers[row]; cell < pointers[row + 1]; cell++) {
            const uint8_t part = labels[cell];
            if (part < n_parts) {
                const int64_t place = n_taken[part]++;
                part_indices[part][place] = indices[cell];
                part_data[part][place] = data[cell];
            }
        }
        for (int64_t part = 0; part < n_parts; part++) {
            part_pointers[part][row + 1] = n_taken[part];
        }
    }
    return 0;
}
