use super::collapse;
use crate::kernel::View;

#[test]
fn only_dense_and_single_operands_collapse() {
    let dense = View::dense(3, 5);
    let single = View { row_stride: 0, col_stride: 0, ..dense };
    let (mut a, mut b) = (dense, single);
    assert_eq!(collapse([4, 5], &mut [&mut a, &mut b]), [1, 20]);
    assert_eq!((a.at(0, 19), b.at(0, 19)), (22, 3));
    for other in [
        View { row_stride: 6, ..dense },
        View { row_stride: 0, ..dense },
        View { col_stride: 0, ..dense },
        View { row_div: 2, ..dense },
        View { row_mod: 2, ..dense },
    ] {
        let (mut a, mut b) = (dense, other);
        assert_eq!(collapse([4, 5], &mut [&mut a, &mut b]), [4, 5]);
        assert_eq!((a, b), (dense, other));
    }
}
