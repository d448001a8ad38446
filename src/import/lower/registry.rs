//! The table of all operators: which forms exist in which operator sets, and what lowers them.

use super::call::{Call, Done};
use super::{
    algebra, attention, constant, conv, draw, einsum, elementwise as e, exactly, linear, linear_attention, logic, loss,
    movement as m, norm, objectives, optimizer, ort_forward as of, ort_grad as og, ort_window as ow, pool, recurrent,
    reduce, resize, sample, scatter, select, sequence, signal, structure,
};
use crate::error::{Code, Diagnostic};

/// Oldest operator set of the default domain with rules.
pub const OLDEST: i64 = 7;
/// Newest one known; later ones may change an operator's meaning.
pub const NEWEST: i64 = 28;

/// One form of an operator.
pub struct Form {
    /// Domain, `""` for the default one.
    pub domain: &'static str,
    /// Operator.
    pub op: &'static str,
    /// First operator set with this form (7 for older ones).
    pub since: i64,
    /// Last one.
    pub until: i64,
    /// Attributes that this form may have.
    pub attributes: &'static [&'static str],
    /// The function of `import::lower` that builds it from primitives.
    pub lowering: &'static str,
    pub(super) lower: fn(&mut Call) -> Done,
}

impl Form {
    /// The operator's name, with its domain where that isn't the default one.
    pub fn name(&self) -> String {
        if self.domain.is_empty() { self.op.into() } else { format!("{}::{}", self.domain, self.op) }
    }
}

const NONE: &[&str] = &[];

macro_rules! forms {
    ($([$domain:literal] $($op:literal $since:literal..$until:tt $attributes:expr, $lower:expr;)*)*) => {
        &[$($(Form {
            domain: $domain,
            op: $op,
            since: $since,
            until: forms!(@ $until),
            attributes: $attributes,
            lowering: stringify!($lower),
            lower: $lower,
        },)*)*]
    };
    (@ now) => { NEWEST };
    (@ $until:literal) => { $until };
}

/// All forms, in the order in which they are listed for people.
pub fn table() -> &'static [Form] {
    FORMS
}

static FORMS: &[Form] = forms! {
    [""]
    // linear
    "Gemm" 7..now &["alpha", "beta", "transA", "transB"], linear::gemm;
    "MatMul" 7..now NONE, linear::matmul;
    "Conv" 7..now &["auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"], conv::conv;
    "ConvTranspose" 7..now &["auto_pad", "dilations", "group", "kernel_shape", "output_padding", "output_shape", "pads", "strides"], conv::conv_transpose;
    "RNN" 7..13 &["activation_alpha", "activation_beta", "activations", "clip", "direction", "hidden_size"], recurrent::rnn;
    "RNN" 14..now &["activation_alpha", "activation_beta", "activations", "clip", "direction", "hidden_size", "layout"], recurrent::rnn;
    "GRU" 7..13 &["activation_alpha", "activation_beta", "activations", "clip", "direction", "hidden_size", "linear_before_reset"], recurrent::gru;
    "GRU" 14..now &["activation_alpha", "activation_beta", "activations", "clip", "direction", "hidden_size", "layout", "linear_before_reset"], recurrent::gru;
    "LSTM" 7..13 &["activation_alpha", "activation_beta", "activations", "clip", "direction", "hidden_size", "input_forget"], recurrent::lstm;
    "LSTM" 14..now &["activation_alpha", "activation_beta", "activations", "clip", "direction", "hidden_size", "input_forget", "layout"], recurrent::lstm;
    "Attention" 23..now &["is_causal", "kv_num_heads", "left_window_size", "q_num_heads", "qk_matmul_output_mode", "right_window_size", "scale", "softcap", "softmax_precision"], attention::attention;
    "RotaryEmbedding" 23..now &["interleaved", "num_heads", "rotary_embedding_dim"], attention::rotary;
    "LinearAttention" 27..now &["chunk_size", "kv_num_heads", "q_num_heads", "scale", "update_rule"], linear_attention::linear_attention;
    "CausalConvWithState" 27..now &["activation"], linear_attention::causal_conv;
    "Einsum" 12..now &["equation"], einsum::einsum;
    "Det" 11..now NONE, algebra::det;
    "DeformConv" 19..now &["dilations", "group", "kernel_shape", "offset_group", "pads", "strides"], sample::deform_conv;
    // entry by entry
    "Add" 7..now NONE, e::arithmetic;
    "Sub" 7..now NONE, e::arithmetic;
    "Mul" 7..now NONE, e::arithmetic;
    "Div" 7..now NONE, e::arithmetic;
    "Pow" 7..now NONE, e::pow;
    "Sum" 7..now NONE, e::total;
    "Mean" 7..now NONE, e::total;
    "Max" 7..now NONE, e::extremum;
    "Min" 7..now NONE, e::extremum;
    "Neg" 7..now NONE, e::neg;
    "Abs" 7..now NONE, e::abs;
    "Sign" 9..now NONE, e::stepwise;
    "Reciprocal" 7..now NONE, e::reciprocal;
    "Floor" 7..now NONE, e::stepwise;
    "Ceil" 7..now NONE, e::stepwise;
    "Round" 11..now NONE, e::stepwise;
    "Clip" 7..10 &["max", "min"], e::clip;
    "Clip" 11..now NONE, e::clip;
    "Relu" 7..now NONE, e::relu;
    "LeakyRelu" 7..now &["alpha"], e::leaky_relu;
    "PRelu" 7..now NONE, e::prelu;
    "ThresholdedRelu" 10..now &["alpha"], e::thresholded_relu;
    "Elu" 7..now &["alpha"], e::elu;
    "Celu" 12..now &["alpha"], e::celu;
    "Selu" 7..now &["alpha", "gamma"], e::selu;
    "Gelu" 20..now &["approximate"], e::gelu;
    "Mish" 18..now NONE, e::mish;
    "Swish" 24..now &["alpha"], e::swish;
    "SwiGLU" 28..now &["alpha"], e::swiglu;
    "Shrink" 9..now &["bias", "lambd"], e::shrink;
    "HardSigmoid" 7..now &["alpha", "beta"], e::hard_sigmoid;
    "HardSwish" 14..now NONE, e::hard_swish;
    "Softsign" 7..now NONE, e::softsign;
    "Exp" 7..now NONE, e::smooth;
    "Log" 7..now NONE, e::smooth;
    "Sqrt" 7..now NONE, e::smooth;
    "Tanh" 7..now NONE, e::smooth;
    "Sigmoid" 7..now NONE, e::smooth;
    "Erf" 9..now NONE, e::smooth;
    "Softplus" 7..now NONE, e::smooth;
    "Sin" 7..now NONE, e::smooth;
    "Cos" 7..now NONE, e::smooth;
    "Tan" 7..now NONE, e::smooth;
    "Asin" 7..now NONE, e::smooth;
    "Acos" 7..now NONE, e::smooth;
    "Atan" 7..now NONE, e::smooth;
    "Sinh" 9..now NONE, e::smooth;
    "Cosh" 9..now NONE, e::smooth;
    "Asinh" 9..now NONE, e::smooth;
    "Acosh" 9..now NONE, e::smooth;
    "Atanh" 9..now NONE, e::smooth;
    // pools
    "MaxPool" 7..7 &["auto_pad", "kernel_shape", "pads", "strides"], pool::max_pool;
    "MaxPool" 8..9 &["auto_pad", "kernel_shape", "pads", "storage_order", "strides"], pool::max_pool;
    "MaxPool" 10..now &["auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "storage_order", "strides"], pool::max_pool;
    "AveragePool" 7..9 &["auto_pad", "count_include_pad", "kernel_shape", "pads", "strides"], pool::average_pool;
    "AveragePool" 10..18 &["auto_pad", "ceil_mode", "count_include_pad", "kernel_shape", "pads", "strides"], pool::average_pool;
    "AveragePool" 19..now &["auto_pad", "ceil_mode", "count_include_pad", "dilations", "kernel_shape", "pads", "strides"], pool::average_pool;
    "LpPool" 7..17 &["auto_pad", "kernel_shape", "p", "pads", "strides"], pool::lp_pool;
    "LpPool" 18..now &["auto_pad", "ceil_mode", "dilations", "kernel_shape", "p", "pads", "strides"], pool::lp_pool;
    "GlobalAveragePool" 7..now NONE, pool::global;
    "GlobalMaxPool" 7..now NONE, pool::global;
    "GlobalLpPool" 7..now &["p"], pool::global;
    // normalisations
    "BatchNormalization" 7..8 &["epsilon", "momentum", "spatial"], norm::batch_norm;
    "BatchNormalization" 9..13 &["epsilon", "momentum"], norm::batch_norm;
    "BatchNormalization" 14..now &["epsilon", "momentum", "training_mode"], norm::batch_norm;
    "LayerNormalization" 7..now &["axis", "epsilon", "stash_type"], norm::layer_norm;
    "RMSNormalization" 23..now &["axis", "epsilon", "stash_type"], norm::rms_norm;
    "InstanceNormalization" 7..now &["epsilon"], norm::instance_norm;
    "GroupNormalization" 18..20 &["epsilon", "num_groups"], norm::group_norm;
    "GroupNormalization" 21..now &["epsilon", "num_groups", "stash_type"], norm::group_norm;
    "MeanVarianceNormalization" 9..now &["axes"], norm::mean_variance;
    "LpNormalization" 7..now &["axis", "p"], norm::lp_norm;
    "Affine" 7..now &["alpha", "beta"], e::affine;
    "Crop" 7..now &["border", "scale"], select::crop;
    "ImageScaler" 7..now &["bias", "scale"], norm::image_scaler;
    "LRN" 7..now &["alpha", "beta", "bias", "size"], norm::lrn;
    "Dropout" 7..11 &["ratio"], norm::dropout;
    "Dropout" 12..now &["seed"], draw::dropout;
    // reductions
    "ReduceSum" 7..12 &["axes", "keepdims"], reduce::reduce;
    "ReduceSum" 13..now &["keepdims", "noop_with_empty_axes"], reduce::reduce;
    "ReduceMean" 7..17 &["axes", "keepdims"], reduce::reduce;
    "ReduceMean" 18..now &["keepdims", "noop_with_empty_axes"], reduce::reduce;
    "ReduceMax" 7..17 &["axes", "keepdims"], reduce::reduce;
    "ReduceMax" 18..now &["keepdims", "noop_with_empty_axes"], reduce::reduce;
    "ReduceMin" 7..17 &["axes", "keepdims"], reduce::reduce;
    "ReduceMin" 18..now &["keepdims", "noop_with_empty_axes"], reduce::reduce;
    "ReduceProd" 7..17 &["axes", "keepdims"], reduce::reduce;
    "ReduceProd" 18..now &["keepdims", "noop_with_empty_axes"], reduce::reduce;
    "ReduceL1" 7..17 &["axes", "keepdims"], reduce::reduce;
    "ReduceL1" 18..now &["keepdims", "noop_with_empty_axes"], reduce::reduce;
    "ReduceL2" 7..17 &["axes", "keepdims"], reduce::reduce;
    "ReduceL2" 18..now &["keepdims", "noop_with_empty_axes"], reduce::reduce;
    "ReduceSumSquare" 7..17 &["axes", "keepdims"], reduce::reduce;
    "ReduceSumSquare" 18..now &["keepdims", "noop_with_empty_axes"], reduce::reduce;
    "ReduceLogSum" 7..17 &["axes", "keepdims"], reduce::reduce;
    "ReduceLogSum" 18..now &["keepdims", "noop_with_empty_axes"], reduce::reduce;
    "ReduceLogSumExp" 7..17 &["axes", "keepdims"], reduce::reduce;
    "ReduceLogSumExp" 18..now &["keepdims", "noop_with_empty_axes"], reduce::reduce;
    "CumProd" 26..now &["exclusive", "reverse"], algebra::cum_prod;
    "CumSum" 11..now &["exclusive", "reverse"], reduce::cum_sum;
    "ArgMax" 7..now &["axis", "keepdims", "select_last_index"], reduce::arg_extremum;
    "ArgMin" 7..now &["axis", "keepdims", "select_last_index"], reduce::arg_extremum;
    // softmax and losses
    "Softmax" 7..now &["axis"], loss::softmax;
    "LogSoftmax" 7..now &["axis"], loss::softmax;
    "SoftmaxCrossEntropyLoss" 12..now &["ignore_index", "reduction"], loss::cross_entropy;
    "NegativeLogLikelihoodLoss" 12..now &["ignore_index", "reduction"], loss::nll;
    // data movement
    "Identity" 7..now NONE, m::identity;
    "Flatten" 7..now &["axis"], m::flatten;
    "Reshape" 7..13 NONE, m::reshape;
    "Reshape" 14..now &["allowzero"], m::reshape;
    "Transpose" 7..now &["perm"], m::transposed;
    "Squeeze" 7..12 &["axes"], m::squeeze;
    "Squeeze" 13..now NONE, m::squeeze;
    "Unsqueeze" 7..12 &["axes"], m::unsqueeze;
    "Unsqueeze" 13..now NONE, m::unsqueeze;
    "Concat" 7..now &["axis"], m::concat;
    "Split" 7..12 &["axis", "split"], m::split;
    "Split" 13..17 &["axis"], m::split;
    "Split" 18..now &["axis", "num_outputs"], m::split;
    "Slice" 7..9 &["axes", "ends", "starts"], m::slice;
    "Slice" 10..now NONE, m::slice;
    "Gather" 7..now &["axis"], m::gather;
    "GatherElements" 11..now &["axis"], m::gather_elements;
    "GatherND" 11..now &["batch_dims"], m::gather_nd;
    "Expand" 8..now NONE, m::expanded;
    "Tile" 7..now NONE, m::tile;
    "Pad" 7..10 &["mode", "pads", "value"], m::pad;
    "Pad" 11..now &["mode"], m::pad;
    "Where" 9..now NONE, m::choose;
    "ScatterElements" 11..15 &["axis"], scatter::scatter_elements;
    "ScatterElements" 16..now &["axis", "reduction"], scatter::scatter_elements;
    "Scatter" 9..10 &["axis"], scatter::scatter_elements;
    "ScatterND" 11..15 NONE, scatter::scatter_nd;
    "ScatterND" 16..now &["reduction"], scatter::scatter_nd;
    "Upsample" 7..8 &["mode", "scales"], resize::resize;
    "Upsample" 9..9 &["mode"], resize::resize;
    "Resize" 10..10 &["mode"], resize::resize;
    "Resize" 11..17 &["coordinate_transformation_mode", "cubic_coeff_a", "exclude_outside", "extrapolation_value", "mode", "nearest_mode"], resize::resize;
    "Resize" 18..now &["antialias", "axes", "coordinate_transformation_mode", "cubic_coeff_a", "exclude_outside", "extrapolation_value", "keep_aspect_ratio_policy", "mode", "nearest_mode"], resize::resize;
    "DepthToSpace" 7..10 &["blocksize"], m::depth_to_space;
    "DepthToSpace" 11..now &["blocksize", "mode"], m::depth_to_space;
    "SpaceToDepth" 7..now &["blocksize", "mode"], m::space_to_depth;
    "Trilu" 14..now &["upper"], m::trilu;
    "OneHot" 9..now &["axis"], m::one_hot;
    "Compress" 9..now &["axis"], select::compress;
    "CenterCropPad" 18..now &["axes"], select::center_crop_pad;
    "ReverseSequence" 10..now &["batch_axis", "time_axis"], select::reverse_sequence;
    "TensorScatter" 24..now &["axis", "mode"], select::tensor_scatter;
    "MaxUnpool" 9..now &["kernel_shape", "pads", "strides"], select::max_unpool;
    "Col2Im" 18..now &["dilations", "pads", "strides"], select::col2im;
    "Hardmax" 7..now &["axis"], select::hardmax;
    "TopK" 7..9 &["axis", "k"], select::top_k;
    "TopK" 10..10 &["axis"], select::top_k;
    "TopK" 11..now &["axis", "largest", "sorted"], select::top_k;
    // between entries
    "GridSample" 16..now &["align_corners", "mode", "padding_mode"], sample::grid_sample;
    "AffineGrid" 20..now &["align_corners"], sample::affine_grid;
    "RoiAlign" 10..15 &["mode", "output_height", "output_width", "sampling_ratio", "spatial_scale"], sample::roi_align;
    "RoiAlign" 16..now &["coordinate_transformation_mode", "mode", "output_height", "output_width", "sampling_ratio", "spatial_scale"], sample::roi_align;
    // signals
    "DFT" 17..19 &["axis", "inverse", "onesided"], signal::dft;
    "DFT" 20..now &["inverse", "onesided"], signal::dft;
    "STFT" 17..now &["onesided"], signal::stft;
    "HannWindow" 17..now &["output_datatype", "periodic"], signal::window;
    "HammingWindow" 17..now &["output_datatype", "periodic"], signal::window;
    "BlackmanWindow" 17..now &["output_datatype", "periodic"], signal::window;
    "MelWeightMatrix" 17..now &["output_datatype"], signal::mel;
    // sequences of tensors
    "SequenceEmpty" 11..now &["dtype"], sequence::construct;
    "SequenceConstruct" 11..now NONE, sequence::construct;
    "SequenceAt" 11..now NONE, sequence::at;
    "SequenceLength" 11..now NONE, sequence::length;
    "SequenceInsert" 11..now NONE, sequence::insert;
    "SequenceErase" 11..now NONE, sequence::erase;
    "SplitToSequence" 11..now &["axis", "keepdims"], sequence::split;
    "ConcatFromSequence" 11..now &["axis", "new_axis"], sequence::concat;
    // import-time data
    "Constant" 7..now &["sparse_value", "value", "value_float", "value_floats", "value_int", "value_ints", "value_string", "value_strings"], constant::constant;
    "ConstantOfShape" 9..now &["value"], constant::constant_of_shape;
    "Shape" 7..14 NONE, loss::measured;
    "Shape" 15..now &["end", "start"], loss::measured;
    "Size" 7..now NONE, loss::measured;
    "Cast" 7..now &["round_mode", "saturate", "to"], constant::cast;
    "CastLike" 15..now &["round_mode", "saturate"], constant::cast;
    "Range" 11..now &["stash_type"], constant::range;
    "EyeLike" 9..now &["dtype", "k"], constant::eye_like;
    "NonZero" 9..now NONE, constant::non_zero;
    "Equal" 7..now NONE, logic::compare;
    "Less" 7..now NONE, logic::compare;
    "LessOrEqual" 12..now NONE, logic::compare;
    "Greater" 7..now NONE, logic::compare;
    "GreaterOrEqual" 12..now NONE, logic::compare;
    "And" 7..now NONE, logic::logic;
    "Or" 7..now NONE, logic::logic;
    "Xor" 7..now NONE, logic::logic;
    "Not" 7..now NONE, logic::not;
    "BitShift" 11..now &["direction"], exactly::bitwise;
    "BitwiseAnd" 18..now NONE, exactly::bitwise;
    "BitwiseOr" 18..now NONE, exactly::bitwise;
    "BitwiseXor" 18..now NONE, exactly::bitwise;
    "BitwiseNot" 18..now NONE, exactly::bitwise_not;
    "BitCast" 26..now &["to"], exactly::bit_cast;
    "DequantizeLinear" 10..12 NONE, exactly::dequantize;
    "DequantizeLinear" 13..now &["axis", "block_size", "output_dtype"], exactly::dequantize;
    "Mod" 10..now &["fmod"], logic::modulo;
    "IsNaN" 9..now NONE, logic::classify;
    "IsInf" 10..now &["detect_negative", "detect_positive"], logic::classify;
    "RandomUniform" 7..now &["dtype", "high", "low", "seed", "shape"], draw::random;
    "RandomUniformLike" 7..now &["dtype", "high", "low", "seed"], draw::random;
    "RandomNormal" 7..now &["dtype", "mean", "scale", "seed", "shape"], draw::random;
    "RandomNormalLike" 7..now &["dtype", "mean", "scale", "seed"], draw::random;
    "Bernoulli" 15..now &["dtype", "seed"], draw::random;
    // graphs inside graphs
    "If" 7..now &["else_branch", "then_branch"], structure::branch;
    "Loop" 7..now &["body"], structure::repeat;
    "Scan" 9..now &["body", "num_scan_inputs", "scan_input_axes", "scan_input_directions", "scan_output_axes", "scan_output_directions"], structure::scan;
    // onnxruntime-training writes these under the default domain, though ONNX doesn't have them
    "MaxPoolGrad" 7..now &["auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "storage_order", "strides"], ow::max_pool;
    "AveragePoolGrad" 7..now &["auto_pad", "ceil_mode", "count_include_pad", "dilations", "kernel_shape", "pads", "strides"], ow::average_pool;
    "GlobalAveragePoolGrad" 7..now NONE, ow::global_average_pool;
    ["com.microsoft"]
    "Gelu" 1..now NONE, of::gelu;
    "BiasGelu" 1..now NONE, of::bias_gelu;
    "FastGelu" 1..now NONE, of::fast_gelu;
    "QuickGelu" 1..now &["alpha"], of::quick_gelu;
    "FusedMatMul" 1..now &["alpha", "transA", "transB", "transBatchA", "transBatchB"], of::fused_matmul;
    "Scale" 1..now &["scale_down"], of::scale;
    "BatchNormInternal" 1..now &["epsilon", "momentum", "training_mode"], of::batch_norm_internal;
    "SimplifiedLayerNormalization" 1..now &["axis", "epsilon", "stash_type"], norm::rms_norm;
    "SoftmaxCrossEntropyLossInternal" 1..now &["ignore_index", "output_type", "reduction"], of::cross_entropy_internal;
    "ConcatTraining" 1..now &["axis"], of::concat_training;
    "SplitTraining" 1..now &["axis"], og::split;
    "BroadcastGradientArgs" 1..now NONE, of::broadcast_gradient_args;
    "YieldOp" 1..now &["full_shape_outputs", "non_differentiable_outputs"], of::yield_op;
    "ReluGrad" 1..now NONE, og::relu;
    "SigmoidGrad" 1..now NONE, og::sigmoid;
    "TanhGrad" 1..now NONE, og::tanh;
    "GeluGrad" 1..now NONE, og::gelu;
    "BiasGeluGrad_dX" 1..now NONE, og::bias_gelu;
    "FastGeluGrad" 1..now NONE, og::fast_gelu;
    "BiasFastGeluGrad_dX" 1..now NONE, og::fast_gelu;
    "QuickGeluGrad" 1..now &["alpha"], og::quick_gelu;
    "SoftmaxGrad" 1..now &["axis"], og::softmax;
    "SoftmaxGrad_13" 1..now &["axis"], og::softmax;
    "LogSoftmaxGrad" 1..now &["axis"], og::softmax;
    "LogSoftmaxGrad_13" 1..now &["axis"], og::softmax;
    "SoftmaxCrossEntropyLossGrad" 1..now &["ignore_index", "output_type", "reduction"], og::cross_entropy;
    "SoftmaxCrossEntropyLossInternalGrad" 1..now &["ignore_index", "output_type", "reduction"], og::cross_entropy;
    "BatchNormalizationGrad" 1..now &["epsilon", "momentum", "training_mode"], og::batch_norm;
    "LayerNormalizationGrad" 1..now &["axis", "epsilon", "stash_type"], og::layer_norm;
    "SimplifiedLayerNormalizationGrad" 1..now &["axis", "epsilon", "stash_type"], og::layer_norm;
    "DropoutGrad" 1..now &["seed"], og::dropout;
    "SliceGrad" 1..now NONE, og::slice;
    "GatherGrad" 1..now &["axis"], og::gather;
    "ConvGrad" 1..now &["auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"], ow::conv;
    ["ai.onnx.preview.training"]
    "Adagrad" 1..now &["decay_factor", "epsilon", "norm_coefficient"], optimizer::adagrad;
    "Adam" 1..now &["alpha", "beta", "epsilon", "norm_coefficient", "norm_coefficient_post"], optimizer::adam;
    "Momentum" 1..now &["alpha", "beta", "mode", "norm_coefficient"], optimizer::momentum;
    ["certify.loss"]
    "SoftmaxCrossEntropyLoss" 1..now NONE, objectives::cross_entropy;
    "NegativeLogLikelihoodLoss" 1..now NONE, objectives::nll;
    "MeanSquaredError" 1..now NONE, objectives::mse;
    "BinaryCrossEntropyWithLogits" 1..now NONE, objectives::bce_logits;
    "Sum" 1..now NONE, objectives::total;
};

/// The form of an operator in force.
pub(super) fn find(domain: &str, op: &str, opset: i64) -> Result<&'static Form, Box<Diagnostic>> {
    let forms: Vec<&Form> = FORMS.iter().filter(|f| f.domain == domain && f.op == op).collect();
    if let Some(form) = forms.iter().find(|f| (f.since..=f.until).contains(&opset)) {
        return Ok(form);
    }
    let what = match forms.first() {
        Some(first) if opset < first.since => format!("operator {op} exists from operator set {} on", first.since),
        Some(_) => format!("operator {op} no longer exists in operator set {opset}"),
        None if domain.is_empty() => match reason(op) {
            Some(why) => format!("operator {op} has no rules: {why}"),
            None => format!("operator {op} has no rules"),
        },
        None => format!("operator {op} of domain \"{domain}\" has no rules"),
    };
    Err(Box::new(Diagnostic::new(Code::Unsupported, what).help("`certify ops` lists the operators with rules")))
}

/// Why operators of ONNX have no rules.
fn reason(op: &str) -> Option<&'static str> {
    Some(match op {
        "ConvInteger" | "MatMulInteger" | "QLinearConv" | "QLinearMatMul" => "it computes with integers",
        "QuantizeLinear" | "DynamicQuantizeLinear" => "rounding to integers has no derivative",
        "NonMaxSuppression" | "Unique" => {
            "which entries it picks depends on comparisons of data, and so does its shape"
        }
        "ImageDecoder" => "it decodes files",
        "StringConcat" | "StringNormalizer" | "StringSplit" | "RegexFullMatch" | "TfIdfVectorizer" => {
            "it works on text"
        }
        "Optional" | "OptionalGetElement" | "OptionalHasElement" | "SequenceMap" => {
            "optional values and maps over sequences aren't supported"
        }
        "Multinomial" => "it draws classes at random, which has no derivative",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_an_operator_follow_each_other_without_gap_or_overlap() {
        for f in FORMS {
            // other domains count their own versions
            let oldest = if f.domain.is_empty() { OLDEST } else { 1 };
            assert!(oldest <= f.since && f.since <= f.until && f.until <= NEWEST, "{}", f.op);
            let mut own: Vec<&Form> = FORMS.iter().filter(|g| g.op == f.op && g.domain == f.domain).collect();
            own.sort_by_key(|g| g.since);
            // two operators have been replaced by others
            let retired = matches!(f.op, "Upsample" | "Scatter");
            assert!(retired || own.last().map(|g| g.until) == Some(NEWEST), "{}", f.op);
            assert!(own.windows(2).all(|w| w[0].until + 1 == w[1].since), "{}", f.op);
        }
    }

    #[test]
    fn unknown_operators_and_old_opsets_are_told_apart() {
        let what = |domain, op, opset| find(domain, op, opset).err().map(|d| d.what).unwrap_or_default();
        assert_eq!(what("", "TfIdfVectorizer", 17), "operator TfIdfVectorizer has no rules: it works on text");
        assert_eq!(what("", "Gelu", 17), "operator Gelu exists from operator set 20 on");
        assert_eq!(what("my.domain", "Relu", 1), "operator Relu of domain \"my.domain\" has no rules");
        assert_eq!(what("", "Relu", 17), "");
    }
}
