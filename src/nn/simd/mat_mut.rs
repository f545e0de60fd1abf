//! A mutable matrix view that splits into disjoint parts by rows *and* by columns.
//!
//! Safe slices cannot be split by columns, so this view holds a pointer; its parts never share an
//! element.

use std::marker::PhantomData;

/// A mutably borrowed row-major matrix `[rows, cols]` whose rows start `stride` elements apart.
#[derive(Debug)]
pub struct MatMut<'a, T> {
    start: *mut T,
    rows: usize,
    cols: usize,
    stride: usize,
    borrow: PhantomData<&'a mut [T]>,
}

// SAFETY: a `MatMut` has exclusive access to the elements it covers, as a `&mut [T]` has.
unsafe impl<T: Send> Send for MatMut<'_, T> {}
// SAFETY: a shared `MatMut` gives out only shared references to its elements, as a `&&mut [T]`
// does.
unsafe impl<T: Sync> Sync for MatMut<'_, T> {}

impl<'a, T> MatMut<'a, T> {
    /// Views a slice as a dense matrix `[rows, cols]`.
    ///
    /// # Panics
    /// If `data` does not hold exactly `rows · cols` elements.
    pub fn new(data: &'a mut [T], rows: usize, cols: usize) -> Self {
        assert_eq!(data.len(), rows * cols, "a dense {rows} × {cols} matrix over {} elements", data.len());
        Self { start: data.as_mut_ptr(), rows, cols, stride: cols, borrow: PhantomData }
    }

    /// Views a slice as a matrix `[rows, cols]` with rows `stride` elements apart.
    ///
    /// # Panics
    /// If rows overlap (`stride < cols`) or `data` ends before the last row does.
    pub fn with_stride(data: &'a mut [T], rows: usize, cols: usize, stride: usize) -> Self {
        assert!(rows <= 1 || stride >= cols, "rows of {cols} elements overlap at stride {stride}");
        let needed = if rows == 0 { 0 } else { (rows - 1) * stride + cols };
        assert!(data.len() >= needed, "{rows} × {cols} at stride {stride} over {} elements", data.len());
        Self { start: data.as_mut_ptr(), rows, cols, stride, borrow: PhantomData }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Elements from the start of one row to the start of the next.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Returns row `row`.
    ///
    /// # Panics
    /// If `row` is out of bounds.
    pub fn row(&self, row: usize) -> &[T] {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        // SAFETY: the constructor checked that every row lies in the borrowed slice.
        unsafe { std::slice::from_raw_parts(self.start.wrapping_add(row * self.stride), self.cols) }
    }

    /// Returns row `row` for writing.
    ///
    /// # Panics
    /// If `row` is out of bounds.
    pub fn row_mut(&mut self, row: usize) -> &mut [T] {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        // SAFETY: as for `row`; `&mut self` makes the reference unique.
        unsafe { std::slice::from_raw_parts_mut(self.start.wrapping_add(row * self.stride), self.cols) }
    }

    /// Borrows the same matrix for a shorter lifetime.
    pub fn reborrow(&mut self) -> MatMut<'_, T> {
        MatMut { start: self.start, rows: self.rows, cols: self.cols, stride: self.stride, borrow: PhantomData }
    }

    /// Splits into the first `at` rows and the rest.
    ///
    /// # Panics
    /// If the matrix has fewer rows.
    #[must_use]
    pub fn split_rows(self, at: usize) -> (Self, Self) {
        assert!(at <= self.rows, "{at} of {} rows", self.rows);
        // `wrapping_add` because an empty rest may start past the slice.
        let rest = self.start.wrapping_add(at * self.stride);
        (Self { rows: at, ..Self::part(&self) }, Self { start: rest, rows: self.rows - at, ..Self::part(&self) })
    }

    /// Splits into the first `at` columns and the rest.
    ///
    /// # Panics
    /// If the matrix has fewer columns.
    #[must_use]
    pub fn split_columns(self, at: usize) -> (Self, Self) {
        assert!(at <= self.cols, "{at} of {} columns", self.cols);
        let rest = self.start.wrapping_add(at);
        (Self { cols: at, ..Self::part(&self) }, Self { start: rest, cols: self.cols - at, ..Self::part(&self) })
    }

    /// Splits into tiles of `rows` × `cols` (smaller at the edges), in row-major order.
    #[must_use]
    pub fn tiles(self, rows: usize, cols: usize) -> Vec<Self> {
        let mut tiles = Vec::with_capacity(self.rows.div_ceil(rows.max(1)) * self.cols.div_ceil(cols.max(1)));
        let mut below = self;
        while below.rows > 0 {
            let (mut right, rest) = {
                let at = rows.min(below.rows);
                below.split_rows(at)
            };
            while right.cols > 0 {
                let at = cols.min(right.cols);
                let (tile, others) = right.split_columns(at);
                tiles.push(tile);
                right = others;
            }
            below = rest;
        }
        tiles
    }

    /// Borrows the part `[rows, cols]` that starts at (`row`, `col`).
    ///
    /// # Panics
    /// If the part exceeds the matrix.
    pub fn sub_mut(&mut self, row: usize, col: usize, rows: usize, cols: usize) -> MatMut<'_, T> {
        assert!(row + rows <= self.rows && col + cols <= self.cols, "the part exceeds the matrix");
        let start = self.start.wrapping_add(row * self.stride + col);
        MatMut { start, rows, cols, stride: self.stride, borrow: PhantomData }
    }

    /// Returns the address of the first element, for kernels.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn start(&mut self) -> *mut T {
        self.start
    }

    fn part(whole: &Self) -> Self {
        Self { start: whole.start, rows: whole.rows, cols: whole.cols, stride: whole.stride, borrow: PhantomData }
    }
}
