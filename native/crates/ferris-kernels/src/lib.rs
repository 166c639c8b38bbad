//! Reductions of numbers for `dask_ferris`, without Python.
//!
//! | module | job |
//! | --- | --- |
//! | [`computation`] | the reductions by name |
//! | [`elements`] | where the numbers come from |
//! | [`reduction`] | what a reduction is: done to a block, and to what comes of the blocks |
//! | [`blocks`] | one reduction of some elements: its blocks, on one thread or several |
//! | [`sum`], [`product`], [`heavy`] | the reductions |
//! | [`half`] | numbers of 16 bits |
//! | [`isa`] | the same code for the processor at hand |
//!
//! # Why the result is the same on any number of threads
//!
//! Addition and multiplication of floats depend on their order.  Here the order is a function of the number of elements
//! and of nothing else: blocks have a fixed length, a block is reduced in a fixed number of lanes, and what comes of the
//! blocks is put together from the first to the last, whoever reduced them and when.  It is the same on any processor,
//! too: every operation used is rounded as IEEE 754 says, fused multiply-add included, and Rust neither reorders nor
//! contracts.
#![deny(unsafe_code)]
#![cfg_attr(test, expect(clippy::float_cmp, reason = "every bit of a result counts"))]

pub mod blocks;
pub mod computation;
pub mod elements;
pub mod half;
pub mod heavy;
pub mod isa;
pub mod product;
pub mod reduction;
pub mod sum;
